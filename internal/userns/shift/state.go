package shift

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"palisade/internal/idmap"
)

// Phase is how far a root file system is.
type Phase string

// Phases that are recorded. A tree without a record is the container's own.
const (
	Shifting   Phase = "shifting"
	Shifted    Phase = "shifted"
	Unshifting Phase = "unshifting"
)

// State is what is recorded of a root file system.
type State struct {
	Phase Phase
	// Change is what is going on; of what is done, To alone is known.
	Change idmap.Change
	// Step is which of the change's steps comes next.
	Step int
	// Root is what the root directory was, which is closed meanwhile.
	Root rootDir
	// Run is a random number that what is recorded of files has, too.
	Run uint64
}

// rootDir are properties of a root directory.
type rootDir struct {
	Mode uint32 `json:"mode"`
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
}

// Partial tells whether the change is neither done nor not begun.
func (s *State) Partial() bool { return s != nil && s.Phase != Shifted }

// Pair are the maps that the tree has, or is to have, or had.
func (s *State) Pair() idmap.Pair {
	if s.Phase == Unshifting {
		return s.Change.From
	}
	return s.Change.To
}

// stateVersion is that of the form in which a state is recorded.
const stateVersion = 1

// stateFile is a state as it is recorded: JSON.
type stateFile struct {
	Version int      `json:"version"`
	Phase   Phase    `json:"phase"`
	FromUID string   `json:"from-uids,omitempty"`
	FromGID string   `json:"from-gids,omitempty"`
	ToUID   string   `json:"to-uids,omitempty"`
	ToGID   string   `json:"to-gids,omitempty"`
	Park    uint32   `json:"park,omitempty"`
	Squash  *uint32  `json:"squash,omitempty"`
	Step    int      `json:"step,omitempty"`
	Root    *rootDir `json:"root,omitempty"`
	Run     uint64   `json:"run,omitempty"`
}

func (s *State) encode() ([]byte, error) {
	f := stateFile{Version: stateVersion, Phase: s.Phase, ToUID: s.Change.To.UID.String(), ToGID: s.Change.To.GID.String()}
	if s.Partial() {
		f.FromUID, f.FromGID = s.Change.From.UID.String(), s.Change.From.GID.String()
		f.Park, f.Squash, f.Step, f.Root, f.Run = s.Change.Park, s.Change.Squash, s.Step, &s.Root, s.Run
	}
	return json.Marshal(f)
}

// decodeState decodes and validates a recorded state. A claim's state may come from an attacker, so
// no field is trusted.
func decodeState(text []byte) (*State, error) {
	var f stateFile
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return nil, fmt.Errorf("parse the recorded state %.100q: %w", text, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("parse the recorded state %.100q: something follows it", text)
	}
	if f.Version != stateVersion {
		return nil, fmt.Errorf("the recorded state has version %d, %d is known", f.Version, stateVersion)
	}
	s := &State{Phase: f.Phase, Step: f.Step, Run: f.Run, Change: idmap.Change{Park: f.Park, Squash: f.Squash}}
	var err error
	if s.Change.From, err = parsePair(f.FromUID, f.FromGID); err == nil {
		s.Change.To, err = parsePair(f.ToUID, f.ToGID)
	}
	if err != nil {
		return nil, fmt.Errorf("the recorded state: %w", err)
	}
	if f.Root != nil {
		s.Root = *f.Root
	}
	return s, s.check(f.Root != nil)
}

func parsePair(uids, gids string) (p idmap.Pair, err error) {
	if uids == "" && gids == "" {
		return p, nil
	}
	if p.UID, err = idmap.ParseMap(uids); err == nil {
		p.GID, err = idmap.ParseMap(gids)
	}
	return p, err
}

func (s *State) check(hasRoot bool) error {
	bad := func(what string) error { return fmt.Errorf("the recorded state is %s", what) }
	switch s.Phase {
	case Shifted, Shifting:
		if s.Change.To.IsZero() {
			return bad("without a map")
		}
	case Unshifting:
		if s.Change.From.IsZero() || !s.Change.To.IsZero() {
			return bad("of a way back without a map, or with two")
		}
	default:
		return bad(fmt.Sprintf("%q, which is not known", s.Phase))
	}
	if !s.Partial() {
		return nil
	}
	if !hasRoot || s.Root.Mode > 0o7777 || s.Run == 0 {
		return bad("without what the root directory was, or the change's number")
	}
	steps, err := s.Change.Steps()
	if err != nil {
		return fmt.Errorf("the recorded state: %w", err)
	}
	if s.Step < 0 || s.Step >= len(steps) {
		return bad(fmt.Sprintf("at step %d of %d", s.Step, len(steps)))
	}
	return nil
}
