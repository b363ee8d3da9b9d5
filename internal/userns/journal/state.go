package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"palisade/internal/oci/idmap"
)

// Phase is the progress of a tree's change. A tree without a State has the container's ids.
type Phase string

const (
	Shifting   Phase = "shifting"
	Shifted    Phase = "shifted"
	Unshifting Phase = "unshifting"
)

// State is the recorded state of a tree.
type State struct {
	Phase Phase
	// Change is the current change. Of a complete one only To is recorded.
	Change idmap.Change
	// Step is the index of the change's next step.
	Step int
	// Root holds the properties of the root directory, which is closed during the change.
	Root RootDir
	// Run is a random number that identifies the change. The records of files contain it.
	Run uint64
}

// RootDir holds properties of a root directory.
type RootDir struct {
	Mode uint32 `json:"mode"`
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
}

// Partial reports whether a change has begun and is not complete. A nil state is not partial.
func (s *State) Partial() bool { return s != nil && s.Phase != Shifted }

// Pair returns the maps of the current or last shift.
func (s *State) Pair() idmap.Pair {
	if s.Phase == Unshifting {
		return s.Change.From
	}
	return s.Change.To
}

// Describe returns the state in words.
func (s *State) Describe() string {
	switch s.Phase {
	case Unshifting:
		return fmt.Sprintf("back from %s", s.Change.From)
	case Shifting:
		return fmt.Sprintf("to %s", s.Change.To)
	}
	return fmt.Sprintf("shifted to %s", s.Change.To)
}

const stateVersion = 1

type stateJSON struct {
	Version int      `json:"version"`
	Phase   Phase    `json:"phase"`
	FromUID string   `json:"from-uids,omitempty"`
	FromGID string   `json:"from-gids,omitempty"`
	ToUID   string   `json:"to-uids,omitempty"`
	ToGID   string   `json:"to-gids,omitempty"`
	Park    uint32   `json:"park,omitempty"`
	Squash  *uint32  `json:"squash,omitempty"`
	Step    int      `json:"step,omitempty"`
	Root    *RootDir `json:"root,omitempty"`
	Run     uint64   `json:"run,omitempty"`
}

func (s *State) encode() ([]byte, error) {
	c := &s.Change
	f := stateJSON{Version: stateVersion, Phase: s.Phase,
		ToUID: c.To.UID.String(), ToGID: c.To.GID.String()}
	if s.Partial() {
		f.FromUID, f.FromGID = c.From.UID.String(), c.From.GID.String()
		f.Park, f.Squash, f.Step, f.Root, f.Run = c.Park, c.Squash, s.Step, &s.Root, s.Run
	}
	return json.Marshal(f)
}

// decodeState decodes and validates a recorded state. A claim's state may come from an attacker, so
// no field is trusted.
func decodeState(text []byte) (*State, error) {
	var f stateJSON
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return nil, fmt.Errorf("parse recorded state %.100q: %w", text, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("parse recorded state %.100q: data after the object", text)
	}
	if f.Version != stateVersion {
		return nil, fmt.Errorf("recorded state: unsupported version %d, want %d",
			f.Version, stateVersion)
	}
	s := &State{Phase: f.Phase, Step: f.Step, Run: f.Run,
		Change: idmap.Change{Park: f.Park, Squash: f.Squash}}
	var err error
	if s.Change.From, err = parsePair(f.FromUID, f.FromGID); err == nil {
		s.Change.To, err = parsePair(f.ToUID, f.ToGID)
	}
	if err == nil {
		if f.Root != nil {
			s.Root = *f.Root
		}
		err = s.validate(f.Root != nil)
	}
	if err != nil {
		return nil, fmt.Errorf("recorded state: %w", err)
	}
	return s, nil
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

func (s *State) validate(hasRoot bool) error {
	switch s.Phase {
	case Shifted, Shifting:
		if s.Change.To.IsZero() {
			return fmt.Errorf("phase %q without a map", s.Phase)
		}
	case Unshifting:
		if s.Change.From.IsZero() || !s.Change.To.IsZero() {
			return fmt.Errorf("phase %q, want one map", s.Phase)
		}
	default:
		return fmt.Errorf("unknown phase %q", s.Phase)
	}
	if !s.Partial() {
		return nil
	}
	if !hasRoot || s.Root.Mode > 0o7777 || s.Run == 0 {
		return fmt.Errorf("phase %q without the root directory's mode or a run number", s.Phase)
	}
	steps, err := s.Change.Steps()
	if err != nil {
		return err
	}
	if s.Step < 0 || s.Step >= len(steps) {
		return fmt.Errorf("step %d of %d", s.Step, len(steps))
	}
	return nil
}

// Record holds the properties of a file that a chown clears, as they were before the change.
type Record struct {
	// Run is the State.Run of the change. Records of other runs are not trusted.
	Run uint64
	// Mode holds the permissions and the set-id bits.
	Mode uint32
	// Caps is the extended attribute of the file capabilities, nil if there is none.
	Caps []byte
}

const (
	recordVersion = 1
	recordHeader  = 13 // bytes before Caps
)

func (r *Record) encode() []byte {
	b := append(make([]byte, 0, 40), recordVersion)
	b = binary.LittleEndian.AppendUint64(b, r.Run)
	b = binary.LittleEndian.AppendUint32(b, r.Mode)
	return append(b, r.Caps...)
}

func decodeRecord(b []byte) (*Record, error) {
	if len(b) < recordHeader || b[0] != recordVersion {
		return nil, fmt.Errorf("parse file record: unsupported version, or less than %d bytes: %.40x",
			recordHeader, b)
	}
	r := &Record{Run: binary.LittleEndian.Uint64(b[1:]), Mode: binary.LittleEndian.Uint32(b[9:])}
	if r.Mode > 0o7777 {
		return nil, fmt.Errorf("parse file record: mode %#o, want at most 07777", r.Mode)
	}
	if len(b) > recordHeader {
		r.Caps = b[recordHeader:]
	}
	return r, nil
}
