package front

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"palisade/internal/authz/action"
	"palisade/internal/authz/policy"
)

const (
	// askTime is the time limit for the engine's answer about a container.
	askTime = 5 * time.Second
	// containerAge is the lifetime of a cached container, which may be renamed.
	containerAge = time.Second
	// maxContainers is the number of cached containers.
	maxContainers = 1000
	// maxInspect is the size limit in bytes of iSulad's answer.
	maxInspect = 4 << 20
)

// NewContainers returns the containers of the engine at the unix socket upstream.
func NewContainers(engine action.Engine, upstream string) Containers {
	transport := &http.Transport{
		DialContext:       dialContext(upstream),
		DisableKeepAlives: true,
	}
	e := &engineContainers{
		client: &http.Client{Transport: transport, Timeout: askTime},
		known:  make(map[string]knownContainer),
	}
	e.ask = e.askHTTP
	if engine == action.Isulad {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
		e.ask = e.askGRPC
	}
	return e
}

// engineContainers asks an engine for containers. IDs are not used twice, but names are.
type engineContainers struct {
	client *http.Client
	// ask returns the engine's description of a container in JSON, or nil if it has none.
	ask func(ctx context.Context, id string) ([]byte, error)

	mu    sync.Mutex
	known map[string]knownContainer
}

type knownContainer struct {
	container *policy.Container
	at        time.Time
}

// Find returns the container with the full ID, as of the last second, or nil if the engine has
// none.
func (e *engineContainers) Find(ctx context.Context, id string) (*policy.Container, error) {
	e.mu.Lock()
	known, ok := e.known[id]
	e.mu.Unlock()
	if ok && time.Since(known.at) < containerAge {
		return known.container, nil
	}
	asked := time.Now()
	var c *policy.Container
	text, err := e.ask(ctx, id)
	if err == nil && text != nil {
		c, err = parseContainer(id, text)
	}
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

// parseContainer parses the description of a container. It returns nil for another container, whose
// name is the ID.
func parseContainer(id string, text []byte) (*policy.Container, error) {
	var c struct {
		ID     string `json:"Id"`
		Name   string
		Config struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("parse the answer: %w", err)
	}
	if c.ID != id {
		return nil, nil
	}
	name := strings.TrimPrefix(c.Name, "/")
	if name == "" {
		return nil, errors.New("the container has no name")
	}
	return &policy.Container{ID: id, Name: name, Labels: c.Config.Labels}, nil
}

func (e *engineContainers) askHTTP(ctx context.Context, id string) ([]byte, error) {
	var text json.RawMessage
	err := inspect(ctx, e.client, &text, "/containers/"+id+"/json", nil)
	if errors.Is(err, errMissing) {
		return nil, nil
	}
	return text, err
}

// The fields of iSulad's InspectContainerRequest and InspectContainerResponse.
const (
	inspectID      = 1
	inspectJSON    = 1
	inspectCode    = 2
	inspectMessage = 3
)

// grpcHeader is the size in bytes of the header of a message: a flag and the size.
const grpcHeader = 5

// askGRPC calls Inspect of iSulad.
func (e *engineContainers) askGRPC(ctx context.Context, id string) ([]byte, error) {
	message := protowire.AppendTag(make([]byte, grpcHeader), inspectID, protowire.BytesType)
	message = protowire.AppendString(message, id)
	message[grpcHeader-1] = byte(len(message) - grpcHeader)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"http://localhost/containers.ContainerService/Inspect", bytes.NewReader(message))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	response, err := e.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxInspect))
	if err != nil {
		return nil, err
	}
	status := cmp.Or(response.Trailer.Get("Grpc-Status"), response.Header.Get("Grpc-Status"))
	if response.StatusCode != http.StatusOK || status != "0" || len(answer) < grpcHeader {
		return nil, fmt.Errorf("status %s, gRPC status %q", response.Status, status)
	}
	return parseInspect(answer[grpcHeader:])
}

// parseInspect returns the description in an InspectContainerResponse, or nil if there is no such
// container.
func parseInspect(message []byte) (text []byte, err error) {
	var code uint64
	var problem string
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
		var value []byte
		switch {
		case number == inspectCode && kind == protowire.VarintType:
			code, n = protowire.ConsumeVarint(message)
		case kind == protowire.BytesType:
			value, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		message = message[n:]
		switch {
		case kind != protowire.BytesType:
		case number == inspectJSON:
			text = value
		case number == inspectMessage:
			problem = string(value)
		}
	}
	switch {
	case code == 0 && text != nil:
		return text, nil
	case code != 0 && strings.HasPrefix(problem, "No such "):
		return nil, nil
	}
	return nil, fmt.Errorf("code %d: %q", code, problem)
}
