package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors of Resolve.
var (
	ErrUnknown   = errors.New("no running container has this id or name")
	ErrAmbiguous = errors.New("several containers match")
)

// Resolve returns the container with the given id, name or unambiguous prefix of an id, in this
// order. Among containers with the same name, root's takes precedence. A name of another user's
// container that is also a prefix of the id of one of root's is ambiguous.
func Resolve(found []Container, given string) (Container, error) {
	hasID := func(c *Container) bool { return c.ID == given }
	hasName := func(c *Container) bool { return slices.Contains(c.Names, given) }
	begins := func(c *Container) bool { return given != "" && strings.HasPrefix(c.ID, given) }
	isRoots := func(c *Container) bool { return c.Creator == 0 }
	for _, fits := range []func(*Container) bool{
		hasID,
		func(c *Container) bool { return isRoots(c) && hasName(c) },
		func(c *Container) bool { return isRoots(c) && begins(c) || !isRoots(c) && hasName(c) },
		begins,
	} {
		var candidates []Container
		for _, c := range found {
			if fits(&c) {
				candidates = append(candidates, c)
			}
		}
		switch len(candidates) {
		case 0:
		case 1:
			return candidates[0], nil
		default:
			return Container{}, fmt.Errorf("%q: %w: %s", given, ErrAmbiguous, describe(candidates))
		}
	}
	return Container{}, fmt.Errorf("%q: %w", given, ErrUnknown)
}

func describe(containers []Container) string {
	const most = 10
	var texts []string
	for i, c := range containers {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(containers)-most))
			break
		}
		text := c.ID
		if len(c.Names) > 0 {
			text += " (" + strings.Join(c.Names, " ") + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}
