package front

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

const (
	// askTime is the time limit for the engine's answer about a container.
	askTime = 5 * time.Second
	// containerAge is how long a container's name is used before the engine is asked again.
	containerAge = time.Second
	// maxContainers is the number of containers that are remembered.
	maxContainers = 1000
	// maxInspect is the size limit in bytes of the engine's answer.
	maxInspect = 4 << 20
)

// NewContainers returns the containers of the engine at the unix socket upstream. It returns nil for
// iSulad, which has no HTTP API.
func NewContainers(engine action.Engine, upstream string) Containers {
	if engine == action.Isulad {
		return nil
	}
	var dialer net.Dialer
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", upstream)
		},
		DisableKeepAlives: true,
	}
	return &engineContainers{
		client: &http.Client{Transport: transport, Timeout: askTime},
		known:  make(map[string]knownContainer),
	}
}

// engineContainers asks an engine with Docker's API, which Podman's service has, too. IDs are never
// used twice, but names are.
type engineContainers struct {
	client *http.Client

	mu    sync.Mutex
	known map[string]knownContainer
}

type knownContainer struct {
	container *policy.Container
	at        time.Time
}

// Find returns the container with the full ID, as of the last second, or nil if the engine has none.
func (e *engineContainers) Find(ctx context.Context, id string) (*policy.Container, error) {
	e.mu.Lock()
	known, ok := e.known[id]
	e.mu.Unlock()
	if ok && time.Since(known.at) < containerAge {
		return known.container, nil
	}
	asked := time.Now()
	c, err := e.ask(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("ask the engine for container %s: %w", id, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.known) >= maxContainers {
		clear(e.known)
	}
	e.known[id] = knownContainer{c, asked}
	return c, nil
}

func (e *engineContainers) ask(ctx context.Context, id string) (*policy.Container, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://engine/containers/"+id+"/json", nil)
	if err != nil {
		return nil, err
	}
	response, err := e.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil
	default:
		return nil, fmt.Errorf("status %s", response.Status)
	}
	var c struct {
		ID     string `json:"Id"`
		Name   string
		Config struct{ Labels map[string]string }
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxInspect)).Decode(&c); err != nil {
		return nil, fmt.Errorf("parse the answer: %w", err)
	}
	if c.ID != id {
		return nil, nil // it is the name of another, or a prefix of its ID
	}
	name := strings.TrimPrefix(c.Name, "/")
	if name == "" {
		return nil, fmt.Errorf("the container has no name")
	}
	return &policy.Container{ID: id, Name: name, Labels: c.Config.Labels}, nil
}
