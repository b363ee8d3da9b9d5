package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// api is the HTTP API of Docker (Docker Engine API, "Containers"), which Podman has as well.
type api struct {
	engine, socket string
	client         *http.Client
}

// newAPI returns the API at a socket, nil if there is none.
func newAPI(engine, socket string) *api {
	if info, err := os.Stat(socket); err != nil || info.Mode().Type() != os.ModeSocket {
		return nil
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &api{engine, socket, &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

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
		f := finding{Container: Container{ID: c.ID, Engine: a.engine}}
		for _, name := range c.Names {
			f.Names = append(f.Names, strings.TrimPrefix(name, "/"))
		}
		f.lookUp = func(ctx context.Context) (int, error) { return a.pid(ctx, c.ID) }
		found = append(found, f)
	}
	return found, nil
}

// pid asks for the first process of a container.
func (a *api) pid(ctx context.Context, id string) (int, error) {
	var c struct{ State struct{ Pid int } }
	err := a.get(ctx, "/containers/"+id+"/json", &c)
	return c.State.Pid, err
}

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
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxFile)).Decode(value); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}
