package front

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/netip"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
	unixsocket "palisade/internal/linux/socket"
)

// Address is an address of a front, and the options for its clients.
type Address struct {
	// Network is "tcp" or "unix", Addr an IP:PORT or an absolute path.
	Network, Addr string
	// Cert, Key, CA and CRL are files in PEM. CRL is "" if certificates are not revoked.
	Cert, Key, CA, CRL string
	// Insecure permits any client at a loopback address.
	Insecure bool
	// User is the name of all clients. If it is "", each client is identified.
	User string
	// Mode, Owner and Group are those of a unix socket. Owner and Group may be "" or numbers.
	Mode         fs.FileMode
	Owner, Group string
}

// noVerification is the option that permits any client.
const noVerification = "insecure-no-client-verification"

// ParseListen parses ADDRESS[,OPTION=VALUE]...:
//
//	tcp://IP:PORT,cert=FILE,key=FILE,ca=FILE[,crl=FILE]
//	tcp://LOOPBACK-IP:PORT,insecure-no-client-verification=true,user=NAME
//	unix:///PATH[,mode=0660][,owner=USER][,group=GROUP][,user=NAME]
//
// It opens no file.
func ParseListen(text string) (Address, error) {
	a, err := parseListen(text)
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", text, err)
	}
	return a, nil
}

func parseListen(text string) (a Address, err error) {
	address, rest, hasOptions := strings.Cut(text, ",")
	network, addr, _ := strings.Cut(address, "://")
	a = Address{Network: network, Addr: addr, Mode: 0o660}
	var insecure, mode string
	options := map[string]*string{"user": &a.User}
	switch a.Network {
	case "tcp":
		maps.Copy(options, map[string]*string{"cert": &a.Cert, "key": &a.Key, "ca": &a.CA,
			"crl": &a.CRL, noVerification: &insecure})
	case "unix":
		maps.Copy(options, map[string]*string{"mode": &mode, "owner": &a.Owner, "group": &a.Group})
	default:
		return a, errors.New("want tcp://IP:PORT or unix:///PATH")
	}
	for option := range strings.SplitSeq(rest, ",") {
		if !hasOptions {
			break
		}
		key, value, _ := strings.Cut(option, "=")
		switch set := options[key]; {
		case set == nil:
			return a, fmt.Errorf("unknown option %q: want %s", key,
				strings.Join(slices.Sorted(maps.Keys(options)), ", "))
		case *set != "":
			return a, fmt.Errorf("option %s is given twice", key)
		case value == "" || strings.ContainsFunc(value, unicode.IsControl):
			return a, fmt.Errorf("option %s: bad value %q", key, value)
		default:
			*set = value
		}
	}
	a.Insecure = insecure == "true"
	if insecure != "" && !a.Insecure {
		return a, fmt.Errorf("%s=%s: want true", noVerification, insecure)
	}
	if a.Network == "tcp" {
		return a, a.validateTCP()
	}
	if !filepath.IsAbs(a.Addr) || strings.ContainsFunc(a.Addr, unicode.IsControl) {
		return a, fmt.Errorf("path %q: want an absolute path, as in unix:///run/front.sock", a.Addr)
	}
	a.Addr = filepath.Clean(a.Addr)
	if mode != "" {
		bits, err := strconv.ParseUint(mode, 8, 32)
		if err != nil || bits > 0o777 {
			return a, fmt.Errorf("mode=%s: want an octal number up to 0777", mode)
		}
		a.Mode = fs.FileMode(bits)
	}
	return a, nil
}

func (a *Address) validateTCP() error {
	ip, err := netip.ParseAddrPort(a.Addr)
	hasFile := a.Cert != "" || a.Key != "" || a.CA != "" || a.CRL != ""
	switch {
	case err != nil:
		return fmt.Errorf("%q: want IP:PORT, as in 127.0.0.1:2376 or [::]:2376", a.Addr)
	case !a.Insecure && (a.Cert == "" || a.Key == "" || a.CA == ""):
		return fmt.Errorf("want cert=, key= and ca=; without them any program that can connect would "+
			"be admitted, which only %s=true permits, on a loopback address", noVerification)
	case !a.Insecure && a.User != "":
		return errors.New("user= cannot be used with certificates, which name the users")
	case a.Insecure && hasFile:
		return fmt.Errorf("%s cannot be used with cert, key, ca or crl", noVerification)
	case a.Insecure && !ip.Addr().Unmap().IsLoopback():
		return fmt.Errorf("%s: %s is not a loopback address", noVerification, ip.Addr())
	case a.Insecure && a.User == "":
		return fmt.Errorf("%s: want user=NAME, the name of all clients in policies", noVerification)
	}
	return nil
}

// is reports whether a listener from the service manager has the address.
func (a *Address) is(l net.Listener) bool {
	if l == nil || l.Addr().Network() != a.Network { // nil for other types of sockets
		return false
	}
	if a.Network == "unix" {
		return filepath.Clean(l.Addr().String()) == a.Addr
	}
	want, _ := netip.ParseAddrPort(a.Addr)
	got, err := netip.ParseAddrPort(l.Addr().String())
	return err == nil && want.Port() == got.Port() && want.Addr().Unmap() == got.Addr().Unmap()
}

// Env has what the listeners share.
type Env struct {
	Log    *slog.Logger
	Engine action.Engine
	// Containers finds the containers of clients at unix sockets. If it is nil, clients in
	// containers are not identified.
	Containers Containers
	// Passed are the sockets from the service manager (LISTEN_FDS).
	Passed []net.Listener
	// MaxConns is the limit of a client's connections at all listeners, or 0.
	MaxConns int

	limit *connLimit
}

// Containers finds containers of the engine.
type Containers interface {
	// Find returns the container with the full ID, or nil if the engine has none.
	Find(ctx context.Context, id string) (*policy.Container, error)
}

// ListenAll listens on all addresses, in the form of ParseListen, or on none after an error. Each
// socket from the service manager must be one of them. Accept of the listeners returns a *Conn, and
// does not wait for a TLS handshake.
func ListenAll(texts []string, env Env) (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			all = nil
		}
	}()
	if env.MaxConns > 0 {
		env.limit = &connLimit{max: env.MaxConns, log: env.Log, open: make(map[string]int)}
	}
	used := make(map[net.Listener]bool)
	for _, text := range texts {
		l, err := listen(text, env)
		if err != nil {
			return all, err
		}
		if used[l.Listener] {
			return append(all, l), fmt.Errorf("address %q is given twice", text)
		}
		used[l.Listener] = true
		all = append(all, l)
	}
	for _, l := range env.Passed {
		if !used[l] {
			return all, fmt.Errorf("socket from the service manager is not a --listen address: %s",
				describe(l))
		}
	}
	return all, nil
}

func describe(l net.Listener) string {
	if l == nil {
		return "not a stream socket"
	}
	return l.Addr().Network() + "://" + l.Addr().String()
}

// listen uses the socket from the service manager if it passed one with the address.
func listen(text string, env Env) (*listener, error) {
	a, err := ParseListen(text)
	if err != nil {
		return nil, err
	}
	open, err := a.opener(env)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", text, err)
	}
	for _, l := range env.Passed {
		if !a.is(l) {
			continue
		}
		if strings.Contains(text, ",mode=") || a.Owner != "" || a.Group != "" {
			return nil, fmt.Errorf("address %q: mode, owner and group of a socket from the service "+
				"manager are set in its unit", text)
		}
		return &listener{l, open, env.limit}, nil
	}
	l, err := a.listen()
	if err != nil {
		return nil, fmt.Errorf("listen on %s://%s: %w", a.Network, a.Addr, err)
	}
	return &listener{l, open, env.limit}, nil
}

func (a *Address) listen() (net.Listener, error) {
	if a.Network == "tcp" {
		return net.Listen("tcp", a.Addr)
	}
	uid, err := lookupID(a.Owner, func(name string) (id string, err error) {
		u, err := user.Lookup(name)
		if err == nil {
			id = u.Uid
		}
		return id, err
	})
	if err != nil {
		return nil, fmt.Errorf("owner=%s: %w", a.Owner, err)
	}
	gid, err := lookupID(a.Group, func(name string) (id string, err error) {
		g, err := user.LookupGroup(name)
		if err == nil {
			id = g.Gid
		}
		return id, err
	})
	if err != nil {
		return nil, fmt.Errorf("group=%s: %w", a.Group, err)
	}
	return unixsocket.ListenAs(a.Addr, a.Mode, uid, gid)
}

// lookupID returns the id of a name or a number, or -1 for "".
func lookupID(name string, lookup func(string) (string, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	text, err := lookup(name)
	if err != nil {
		text = name
	}
	id, parseErr := strconv.ParseUint(text, 10, 32)
	switch {
	case parseErr != nil && err != nil:
		return 0, err
	case parseErr != nil || id == math.MaxUint32: // which chown(2) takes for no change
		return 0, fmt.Errorf("bad id %q", text)
	}
	return int(id), nil
}

// listener wraps the connections of a listener.
type listener struct {
	net.Listener
	open  func(net.Conn) *Conn
	limit *connLimit
}

// Accept returns the next connection, a *Conn.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := l.open(c)
	conn.limit = l.limit
	return conn, nil
}

// opener returns the function that wraps a connection in a Conn. It reads the certificates.
func (a *Address) opener(env Env) (func(net.Conn) *Conn, error) {
	switch {
	case a.User != "":
		client := Client{policy.Identity{User: a.User}, "socket"}
		return func(c net.Conn) *Conn {
			return &Conn{
				Conn: c, client: func(context.Context) (Client, error) { return client, nil },
				key: func() string { return "user:" + a.User },
			}
		}, nil
	case a.Network == "unix":
		return env.openUnix, nil
	}
	files, err := openTLSFiles(*a, env)
	if err != nil {
		return nil, err
	}
	return files.open, nil
}
