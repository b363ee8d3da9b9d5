package shift

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// claim is a recorded state that was not recorded with this host's key: an image brought it along,
// another host or an earlier release wrote it, or the key is lost. It is not believed, but some of
// it is told.
type claim struct {
	// state is what it says, nil if that is not understood.
	state *State
	// where says where it is, and erase how it is removed.
	where, erase, key string
}

// recorded returns the state that this host has recorded, nil if it has none, or what is claimed
// instead, nil if nothing is.
func (t *tree) recorded() (*State, *claim, error) {
	s, err := t.journal.state()
	if s != nil || err != nil || t.sealed == nil {
		return s, nil, err
	}
	return nil, t.claim(), nil
}

func (t *tree) claim() *claim {
	j := t.journal
	c := &claim{where: j.String(), erase: j.erase(t.path), key: filepath.Join(j.stateDir, keyName)}
	var text json.RawMessage // without what follows it, a seal
	if err := json.NewDecoder(bytes.NewReader(j.sealed)).Decode(&text); err != nil {
		return c
	}
	if s, err := decodeState(text); err == nil {
		c.state = s
	}
	return c
}

// String is what is told of a claim.
func (c *claim) String() string {
	says := "something unknown"
	if c.state != nil {
		says = c.state.Describe()
	}
	return fmt.Sprintf("%s was not written with this host's key %s (it says: %.200s)",
		c.where, c.key, says)
}

// err is nil for no claim, and for one that does no harm if it is taken for nothing: a tree without
// a record can be looked at. One that was interrupted may lack set-id bits and capabilities, which
// its records have.
func (c *claim) err() error {
	if c == nil || c.state != nil && !c.state.Partial() {
		return nil
	}
	return Problems{{
		Text: "the tree may be half shifted: " + c.String(),
		Remedy: "finish it on the host, and with the release, that began it; or, if the record came " +
			"with an image, " + c.erase,
	}}
}
