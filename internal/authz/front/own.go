package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"palisade/internal/authz/policy"
)

// Owners asks an engine for the owners of its containers.
type Owners struct {
	client *http.Client

	mu sync.Mutex
	// labelled reports by image id whether the image has the label. Images are immutable.
	labelled map[string]bool
}

const (
	// maxAnswer is the size limit in bytes of an answer. A container's description has about 8 KiB.
	maxAnswer = 64 << 20
	// maxImages is the number of cached images.
	maxImages = 4096
)

// NewOwners returns the Owners of the engine at a unix socket.
func NewOwners(socket string) *Owners {
	return &Owners{
		labelled: make(map[string]bool),
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:         dialContext(socket),
				MaxIdleConnsPerHost: 16,
				IdleConnTimeout:     time.Minute,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       askTime,
		},
	}
}

// For returns the Owners for one request, whose queries the context cancels.
func (o *Owners) For(ctx context.Context) policy.Owners { return ownerQuery{o, ctx} }

type ownerQuery struct {
	*Owners
	ctx context.Context
}

// errMissing is the error if the engine has no such object, or several with the prefix.
var errMissing = errors.New("no such object")

// failTime is the time for which a query is repeated that the engine fails to answer: Podman does
// not while it removes the container.
const failTime = time.Second

func (q ownerQuery) get(object any, path string, query url.Values) error {
	for began := time.Now(); ; {
		err := inspect(q.ctx, q.client, object, path, query)
		if !errors.Is(err, errFailed) || time.Since(began) > failTime || q.ctx.Err() != nil {
			return err
		}
		time.Sleep(failTime / 20)
	}
}

// errFailed is the error if the engine answers with status 500.
var errFailed = errors.New("500 Internal Server Error")

// inspect asks for an object with Docker's API, which Podman serves as well.
func inspect(
	ctx context.Context, client *http.Client, object any, path string, query url.Values,
) error {
	u := url.URL{Scheme: "http", Host: "engine", Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, maxAnswer)
	defer io.Copy(io.Discard, io.LimitReader(body, 64<<10)) // so that the connection can be used again
	switch resp.StatusCode {
	case http.StatusOK:
		if err := json.NewDecoder(body).Decode(object); err != nil {
			return fmt.Errorf("parse the answer: %w", err)
		}
		return nil
	case http.StatusNotFound, http.StatusBadRequest:
		return errMissing
	case http.StatusInternalServerError:
		return fmt.Errorf("GET %s: %w", path, errFailed)
	}
	return fmt.Errorf("GET %s: %s", path, resp.Status)
}

// labels has the labels of a container or an image. Config is null for some images.
type labels struct {
	Config struct{ Labels map[string]string }
}

func (l labels) owner() string { return l.Config.Labels[policy.OwnerLabel] }

// Container implements policy.Owners.
func (q ownerQuery) Container(ref string) (id, owner string, err error) {
	var c struct {
		ID, Image string
		labels
	}
	switch err := q.get(&c, "/containers/"+ref+"/json", nil); {
	case errors.Is(err, errMissing):
		return "", "", nil
	case err != nil:
		return "", "", err
	case c.owner() == "":
		return c.ID, "", nil
	}
	has, err := q.imageHasOwner(c.Image)
	if has || err != nil {
		return c.ID, "", err
	}
	return c.ID, c.owner(), nil
}

// Exec implements policy.Owners.
func (q ownerQuery) Exec(id string) (owner string, err error) {
	var e struct{ ContainerID string }
	err = q.get(&e, "/exec/"+id+"/json", nil)
	switch {
	case errors.Is(err, errMissing):
		return "", nil
	case err != nil:
		return "", err
	}
	found, owner, err := q.Container(e.ContainerID)
	if found != e.ContainerID { // another has the id as its name
		owner = ""
	}
	return owner, err
}

// Containers implements policy.Owners.
func (q ownerQuery) Containers(owner string) (ids []string, err error) {
	filters, err := json.Marshal(map[string][]string{"label": {policy.OwnerLabel + "=" + owner}})
	if err != nil {
		return nil, err
	}
	var list []struct{ ID, ImageID string }
	err = q.get(&list, "/containers/json", url.Values{"all": {"1"}, "filters": {string(filters)}})
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		has, err := q.imageHasOwner(c.ImageID)
		if err != nil {
			return nil, err
		}
		if has {
			return nil, fmt.Errorf("container %.12s may have the label %s from its image",
				c.ID, policy.OwnerLabel)
		}
		ids = append(ids, c.ID)
	}
	return ids, nil
}

// imageRef matches references to images, which are part of a path.
var imageRef = regexp.MustCompile(`^[a-zA-Z0-9][\w.:@+-]*(/[a-zA-Z0-9][\w.:@+-]*)*$`)

// ImageHasOwner implements policy.Owners.
func (q ownerQuery) ImageHasOwner(ref string) (bool, error) {
	if ref == "" {
		return false, nil
	}
	if !imageRef.MatchString(ref) {
		return false, fmt.Errorf("invalid image reference %q", ref)
	}
	var image labels
	if err := q.get(&image, "/images/"+ref+"/json", nil); err != nil && !errors.Is(err, errMissing) {
		return false, err
	}
	return image.owner() != "", nil
}

// imageHasOwner is ImageHasOwner for the image of a container. It fails if the image was deleted,
// because that may have had the label. A container with a rootfs of its own has no image.
func (q ownerQuery) imageHasOwner(id string) (bool, error) {
	id = strings.TrimPrefix(id, "sha256:")
	if id == "" {
		return false, nil
	}
	q.mu.Lock()
	has, known := q.labelled[id]
	q.mu.Unlock()
	if known {
		return has, nil
	}
	var image labels
	if err := q.get(&image, "/images/"+id+"/json", nil); err != nil {
		return false, fmt.Errorf("inspect the image of the container: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.labelled) >= maxImages {
		clear(q.labelled)
	}
	q.labelled[id] = image.owner() != ""
	return q.labelled[id], nil
}
