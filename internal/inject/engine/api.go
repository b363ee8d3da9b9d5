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

	"palisade/internal/linux/sys"
)

// api is the HTTP API of Docker (Docker Engine API, "Containers"), which Podman serves as well.
type api struct {
	engine, socket string
	info           os.FileInfo
	client         *http.Client
}

func newAPI(engine, socket string) *api {
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			time.AfterFunc(readTimeout, func() { cancelUnread(conn) })
		}
		return conn, err
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	return &api{engine, socket, info, &http.Client{Transport: transport}}
}

// readTimeout bounds the time that an engine takes to read a request. A socket on which systemd
// listens has no reader yet, if the engine is ordered after lxcfs, which waits here.
const readTimeout = time.Second

// cancelUnread ends the wait for an answer if the request was not read.
func cancelUnread(conn net.Conn) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return
	}
	if n, err := sys.Unread(unix); err == nil && n > 0 { // an error: it is closed already
		conn.SetDeadline(time.Now())
	}
}

func (a *api) name() string { return a.engine + " at " + a.socket }

// find lists the running containers, without their processes.
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

// pid returns the pid of a container's init, or 0 if it has ended.
func (a *api) pid(ctx context.Context, id string) (int, error) {
	var c struct{ State struct{ Pid int } }
	err := a.get(ctx, "/containers/"+id+"/json", &c)
	if errors.Is(err, errNotFound) {
		return 0, nil
	}
	return c.State.Pid, err
}

var errNotFound = errors.New("404 Not Found")

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

// Version returns the version of the daemon at a socket with Docker's API.
func Version(ctx context.Context, socket string) (string, error) {
	a := newAPI("docker", socket)
	if a == nil {
		return "", fmt.Errorf("%s: not a socket", socket)
	}
	var v struct{ Version string }
	err := a.get(ctx, "/version", &v)
	return v.Version, err
}
