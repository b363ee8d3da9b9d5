package front

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"palisade/internal/authz/policy"
	"palisade/internal/linux/sys"
)

// namesAge is the lifetime of the cached names of a user and its groups.
const namesAge = time.Second

// unixPeer is the process that has connected to a unix socket.
type unixPeer struct {
	containers Containers
	peer       sys.Peer
	// err is the reason if the process cannot be identified.
	err error
	// ids are the IDs in the names of the process's cgroups, none for a process of the host.
	ids []string

	dirMu sync.Mutex // guards peer.Dir

	namesMu sync.Mutex
	names   policy.Identity
	namedAt time.Time
}

// unixConn is a connection that closes the directory of its peer.
type unixConn struct {
	*net.UnixConn
	peer *unixPeer
}

// Close closes the connection.
func (c unixConn) Close() error {
	c.peer.closeDir()
	return c.UnixConn.Close()
}

// openUnix wraps the connection of a process. It pins the process, which may end at any time, and
// examines it at the first read.
func (e Env) openUnix(c net.Conn) *Conn {
	p := &unixPeer{containers: e.Containers}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		p.err = fmt.Errorf("a connection of %s has no peer", c.LocalAddr().Network())
		return &Conn{Conn: c, client: p.client, key: p.key}
	}
	p.peer, p.err = sys.OpenPeer(conn)
	return &Conn{Conn: unixConn{conn, p}, verify: p.examine, client: p.client, key: p.key}
}

// key names the process's containers, or its user, for connLimit.
func (p *unixPeer) key() string {
	if len(p.ids) > 0 {
		return "container:" + strings.Join(p.ids, ",")
	}
	return "uid:" + strconv.FormatUint(uint64(p.peer.UID), 10)
}

func (p *unixPeer) closeDir() {
	p.dirMu.Lock()
	defer p.dirMu.Unlock()
	p.peer.Dir.Close()
}

// examine finds the container of the process. It returns no error, but keeps it for the answer to
// the first request.
func (p *unixPeer) examine() error {
	if p.err == nil {
		p.dirMu.Lock()
		p.ids, p.err = examine(p.peer)
		p.dirMu.Unlock()
	}
	p.closeDir()
	if p.err == nil {
		return nil
	}
	p.err = fmt.Errorf("identify process %d of uid %d: %w", p.peer.PID, p.peer.UID, p.err)
	if errors.Is(p.err, syscall.ESRCH) || errors.Is(p.err, fs.ErrNotExist) {
		p.err = fmt.Errorf("%w: the process has ended, or /proc is hidden from authz-broker", p.err)
	}
	return nil
}

// client returns the container of the process, or its user.
func (p *unixPeer) client(ctx context.Context) (Client, error) {
	if p.err != nil {
		return Client{}, p.err
	}
	if len(p.ids) > 0 {
		c, err := findContainer(ctx, p.containers, p.ids)
		if err != nil {
			return Client{}, err
		}
		return Client{policy.Identity{Container: c}, "container"}, nil
	}
	p.namesMu.Lock()
	defer p.namesMu.Unlock()
	if time.Since(p.namedAt) > namesAge {
		names, err := namesOf(p.peer)
		if err != nil {
			return Client{}, err
		}
		p.names, p.namedAt = names, time.Now()
	}
	return Client{p.names, "unix"}, nil
}

// findContainer returns the container of a process, given the IDs in the names of its cgroups. IDs
// that the engine does not know may be those of pods, or of containers in a container. If it knows
// two, a user in a container has chosen one of the names.
func findContainer(
	ctx context.Context, containers Containers, ids []string,
) (found *policy.Container, err error) {
	if containers == nil {
		return nil, errors.New("the client is in a container, which this engine cannot identify; " +
			"use a socket with user=NAME")
	}
	for _, id := range ids {
		c, err := containers.Find(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case c != nil && found != nil:
			return nil, fmt.Errorf("the client's cgroup is that of two containers, %q and %q",
				found.Name, c.Name)
		case c != nil:
			found = c
		}
	}
	if found == nil {
		return nil, fmt.Errorf("the engine does not have the container of the client: %s", ids[0])
	}
	return found, nil
}

// namesOf returns the names of the user and the groups in /etc/passwd and /etc/group. An id without
// a name is uid:NUMBER or gid:NUMBER, which cannot be a name in these files.
func namesOf(p sys.Peer) (id policy.Identity, err error) {
	uid := strconv.FormatUint(uint64(p.UID), 10)
	u, err := user.LookupId(uid)
	switch {
	case err == nil:
		id.UnixUser = u.Username
	case !errors.As(err, new(user.UnknownUserIdError)):
		return id, fmt.Errorf("find the name of uid %s: %w", uid, err)
	}
	if id.UnixUser == "" {
		id.UnixUser = "uid:" + uid
	}
	seen := make(map[uint32]bool)
	for _, n := range append([]uint32{p.GID}, p.Groups...) {
		if seen[n] {
			continue
		}
		seen[n] = true
		gid, name := strconv.FormatUint(uint64(n), 10), ""
		g, err := user.LookupGroupId(gid)
		switch {
		case err == nil:
			name = g.Name
		case !errors.As(err, new(user.UnknownGroupIdError)):
			return id, fmt.Errorf("find the name of gid %s: %w", gid, err)
		}
		if name == "" {
			name = "gid:" + gid
		}
		id.UnixGroups = append(id.UnixGroups, name)
	}
	return id, nil
}
