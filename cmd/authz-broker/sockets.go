package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/activation"

	"palisade/internal/authz/action"
	"palisade/internal/authz/broker"
	unixsocket "palisade/internal/linux/socket"
)

type socket struct {
	net.Listener
	engine action.Engine
}

// sockets returns the sockets that the service manager passes (LISTEN_FDS), and listens on those
// options that are not among them.
func (o *serveOptions) sockets() (all []socket, err error) {
	defer func() {
		if err != nil {
			for _, s := range all {
				err = errors.Join(err, s.Close())
			}
		}
	}()
	passed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("get the service manager's sockets: %w", err)
	}
	wanted := map[action.Engine]string{action.Docker: o.dockerSocket, action.Isulad: o.isuladSocket}
	for _, l := range passed {
		engine := engineAt(wanted, l)
		if engine == "" {
			return all, fmt.Errorf("the service manager passed a socket that is neither "+
				"--docker-socket %s nor --isulad-socket %s", o.dockerSocket, o.isuladSocket)
		}
		delete(wanted, engine)
		all = append(all, socket{l, engine})
	}
	for engine, path := range wanted {
		if path == off {
			continue
		}
		l, err := unixsocket.Listen(path, broker.SocketMode)
		if err != nil {
			return all, err
		}
		all = append(all, socket{l, engine})
	}
	return all, nil
}

// engineAt returns the engine whose wanted path is the address of a listener, or "".
func engineAt(wanted map[action.Engine]string, l net.Listener) action.Engine {
	for engine, path := range wanted {
		// A listener is nil if it is not a stream socket.
		if path != off && l != nil && l.Addr().Network() == "unix" &&
			filepath.Clean(path) == filepath.Clean(l.Addr().String()) {
			return engine
		}
	}
	return ""
}
