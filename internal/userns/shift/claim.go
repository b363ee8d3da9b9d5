package shift

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
)

// claim is a state without a valid seal: it comes from an image, another host or an earlier
// release, or the key is lost. It is not trusted, only reported.
type claim struct {
	// state is the claimed state, nil if it cannot be parsed.
	state *State
	// where describes the place of the record, erase is a command that removes it, and key the path
	// of the host's key.
	where, erase, key string
}

// recorded returns the state that this host has recorded, or else a claim. Both are nil if there is
// no record.
func (t *tree) recorded() (*State, *claim, error) {
	s, err := t.journal.state()
	if s != nil || err != nil || t.sealed == nil {
		return s, nil, err
	}
	return nil, t.claim(), nil
}

func (t *tree) claim() *claim {
	j := t.journal
	c := &claim{
		where: j.String(), erase: j.eraseCommand(t.path), key: filepath.Join(j.stateDir, keyName),
	}
	var text json.RawMessage // without the seal that follows it
	if err := json.NewDecoder(bytes.NewReader(j.sealed)).Decode(&text); err != nil {
		return c
	}
	if s, err := decodeState(text); err == nil {
		c.state = s
	}
	return c
}

// String describes the claim in messages.
func (c *claim) String() string {
	says := "something unknown"
	if c.state != nil {
		says = c.state.Describe()
	}
	return fmt.Sprintf("%s was not written with this host's key %s (it says: %.200s)",
		c.where, c.key, says)
}

// err returns nil if the claim can be ignored, as one of a complete shift: the owners of the files
// show the state. A tree whose shift was interrupted may lack set-id bits and capabilities that
// only its records have, so that must be resolved first. A nil claim can be ignored.
func (c *claim) err() error {
	if c == nil || c.state != nil && !c.state.Partial() {
		return nil
	}
	return Problems{{
		Text: "the tree may be half shifted: " + c.String(),
		Remedy: "finish it on the host, and with the release, that started it; or, if the record came " +
			"from an image, " + c.erase,
	}}
}
