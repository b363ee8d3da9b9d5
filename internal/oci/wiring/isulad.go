package wiring

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Isulad is the part of iSulad's daemon.json about its directories, hooks and access.
type Isulad struct {
	Graph, HookSpec, Plugin string
	// Hosts are the addresses at which it listens: a unix socket if there are none.
	Hosts []string
	// TLS applies to TCP; with TLSVerify clients need a certificate.
	TLS, TLSVerify bool
	// Twice are the keys that occur more than once.
	Twice []string
}

// ParseIsulad parses daemon.json as iSulad does (yajl_tree_get): case counts, and so does the
// first of several equal keys. encoding/json ignores case and takes the last.
func ParseIsulad(text []byte) (c Isulad, err error) {
	values := map[string]any{
		"graph": &c.Graph, "hook-spec": &c.HookSpec, "authorization-plugin": &c.Plugin,
		"hosts": &c.Hosts, "tls": &c.TLS, "tls-verify": &c.TLSVerify,
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if token, err := decoder.Token(); err != nil {
		return Isulad{}, fmt.Errorf("want a JSON object: %w", err)
	} else if token != json.Delim('{') {
		return Isulad{}, fmt.Errorf("want a JSON object, not %v", token)
	}
	seen := make(map[string]bool)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return Isulad{}, err
		}
		key, _ := token.(string)
		value := values[key]
		if value == nil || seen[key] {
			value = new(json.RawMessage)
		}
		if err := decoder.Decode(value); err != nil {
			return Isulad{}, fmt.Errorf("%q: %w", key, err)
		}
		if seen[key] && values[key] != nil && !slices.Contains(c.Twice, key) {
			c.Twice = append(c.Twice, key)
		}
		seen[key] = true
	}
	if _, err := decoder.Token(); err != nil {
		return Isulad{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Isulad{}, errors.New("text follows the JSON object")
	}
	c.TLS = c.TLS || c.TLSVerify
	return c, nil
}

// AddOptions adds the options that isulad.service gives isulad: OPTIONS in its environment file,
// /etc/sysconfig/iSulad. They count before daemon.json.
func (c *Isulad) AddOptions(environment []byte) {
	var words []string
	for line := range strings.Lines(string(environment)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "OPTIONS="); ok {
			words = strings.Fields(strings.Trim(value, `'"`)) // the last line counts
		}
	}
	texts := map[string]*string{
		"-g": &c.Graph, "--graph": &c.Graph, "--hook-spec": &c.HookSpec,
		"--authorization-plugin": &c.Plugin,
	}
	for i := 0; i < len(words); i++ {
		name, value, hasValue := strings.Cut(words[i], "=")
		isHost := name == "-H" || name == "--host"
		if !hasValue && (isHost || texts[name] != nil) && i+1 < len(words) {
			i++
			value = words[i]
		}
		switch {
		case isHost:
			c.Hosts = append(c.Hosts, value)
		case texts[name] != nil:
			*texts[name] = value
		case name == "--tls", name == "--tlsverify":
			c.TLS, c.TLSVerify = true, c.TLSVerify || name == "--tlsverify"
		}
	}
}

// TCP returns the addresses that can be reached over TCP.
func (c *Isulad) TCP() []string {
	return slices.DeleteFunc(slices.Clone(c.Hosts), func(host string) bool {
		return !strings.HasPrefix(host, "tcp://")
	})
}

// HasSocket reports whether it listens on a unix socket.
func (c *Isulad) HasSocket() bool { return len(c.Hosts) == 0 || len(c.TCP()) < len(c.Hosts) }
