package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"palisade/internal/sys"
)

// api is the HTTP API of Docker (Docker Engine API, "Containers"), which Podman has as well.
type api struct {
	engine, socket string
	info           os.FileInfo
	client         *http.Client
}

// newAPI returns the API at a socket, nil if there is none.
func newAPI(engine, socket string) *api {
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			time.AfterFunc(patience, func() { giveUpUnread(conn) })
		}
		return conn, err
	}
	return &api{engine, socket, info, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// patience is how long an engine may take to read a question. Nobody reads it where systemd listens for an engine that it is about to
// start, but not before lxcfs, which asks.
const patience = time.Second

// giveUpUnread ends the wait for an answer where not even the question was read.
func giveUpUnread(conn net.Conn) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return
	}
	if n, err := sys.Unread(unix); err == nil && n > 0 { // an error is that it is closed already
		conn.SetDeadline(time.Now())
	}
}

func (a *api) name() string { return a.engine + " at " + a.socket }

// find lists the containers that run. It does not tell their processes.
func (a *api) find(ctx context.Context) ([]finding, error) {
	var list []struct {
		ID    string `json:"Id"`
		Names []string
	}
	if err := a.get(ctx, "/containers/json", &list); err != nil {
		return nil, err
	}
	found := make([]finding, 0, len(list))
	for _, c := range list {
		f := finding{Container: Container{ID: c.ID, Engine: a.engine}, source: a.name()}
		for _, name := range c.Names {
			f.Names = append(f.Names, strings.TrimPrefix(name, "/"))
		}
		f.lookUp = func(ctx context.Context) (int, error) { return a.pid(ctx, c.ID) }
		found = append(found, f)
	}
	return found, nil
}

// pid asks for the first process of a container, 0 if it has ended.
func (a *api) pid(ctx context.Context, id string) (int, error) {
	var c struct{ State struct{ Pid int } }
	err := a.get(ctx, "/containers/"+id+"/json", &c)
	if errors.Is(err, errNotFound) {
		return 0, nil
	}
	return c.State.Pid, err
}

// errNotFound is the error for a container that the engine does not have any more.
var errNotFound = errors.New("404 Not Found")

// get asks for a JSON value.
func (a *api) get(ctx context.Context, path string, value any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return fmt.Errorf("GET %s: %w", path, errNotFound)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxFile)).Decode(value); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

// Version asks the daemon at a socket, which has Docker's API, for its version.
func Version(ctx context.Context, socket string) (string, error) {
	a := newAPI("docker", socket)
	if a == nil {
		return "", fmt.Errorf("%s: %w", socket, errNoSocket)
	}
	var v struct{ Version string }
	err := a.get(ctx, "/version", &v)
	return v.Version, err
}

// errNoSocket is the error for a daemon that does not run.
var errNoSocket = errors.New("it is no socket")
