package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors of Resolve.
var (
	ErrUnknown   = errors.New("no container that runs has this id or name")
	ErrAmbiguous = errors.New("several containers are meant")
)

// Resolve finds the container that is given by its id, its name, or an unambiguous beginning of its id; the first of these
// that fits counts.
func Resolve(found []Container, given string) (Container, error) {
	for _, fits := range []func(*Container) bool{
		func(c *Container) bool { return c.ID == given },
		func(c *Container) bool { return slices.Contains(c.Names, given) },
		func(c *Container) bool { return given != "" && strings.HasPrefix(c.ID, given) },
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

// describe lists containers for people.
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
