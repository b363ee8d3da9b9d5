package ranges

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
)

// DefaultConfig is the default path of the configuration file.
const DefaultConfig = "/etc/userns-shift/ranges.json"

// BlockSize is the alignment and the maximum size of a range: a block of 65536 ids, whose first id
// has 16 zero bits, has one range at most. The name of a range in the registry is its block, so
// that creating the name excludes all ranges that overlap.
const BlockSize = 1 << 16

// defaultBounds end below 2^31, since some programs store ids in signed numbers, and since FreeIPA
// and the examples of Podman delegate the ids from 2^31 on. They begin above the containers of
// systemd, and end before its foreign ids.
var defaultBounds = []Span{{First: 1879048192, Last: 2147352575}}

// config is the content of the configuration file.
type config struct {
	file string
	// bounds hold all ranges, taken are ids that no range may have.
	bounds, taken []Span
	size          uint32
}

const maxConfig = 1 << 20

// readConfig reads the configuration file. Without one the defaults apply.
func readConfig(file string) (config, error) {
	text, err := sys.ReadRegular(file, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return config{file: file, bounds: defaultBounds, size: BlockSize}, nil
	}
	if err != nil {
		return config{}, err
	}
	c, err := parseConfig(text, file)
	if err != nil {
		return config{}, fmt.Errorf("parse %s: %w", file, err)
	}
	return c, nil
}

func parseConfig(text []byte, file string) (config, error) {
	var f struct {
		Bounds, Exclude []string
		Size            *uint32
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return config{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return config{}, errors.New("data after the object")
	}
	c := config{file: file, bounds: defaultBounds, size: BlockSize}
	if f.Size != nil {
		c.size = *f.Size
	}
	if c.size < 1 || c.size > BlockSize {
		return config{}, fmt.Errorf("size %d, want 1 to %d", c.size, BlockSize)
	}
	if f.Bounds != nil {
		c.bounds = nil
	}
	for _, text := range f.Bounds {
		s, err := parseSpan(text)
		if err != nil {
			return config{}, fmt.Errorf("bounds: %w", err)
		}
		for _, other := range c.bounds {
			if s.overlaps(other) {
				return config{}, fmt.Errorf("bounds: %s and %s overlap", other, s)
			}
		}
		c.bounds = append(c.bounds, s)
	}
	if c.blocks() == 0 {
		return config{}, fmt.Errorf("bounds %s hold no block of %d ids that begins at a multiple of it",
			c.describe(), BlockSize)
	}
	for _, text := range f.Exclude {
		s, err := parseSpan(text)
		if err != nil {
			return config{}, fmt.Errorf("exclude: %w", err)
		}
		s.By = file + ", exclude"
		c.taken = append(c.taken, s)
	}
	return c, nil
}

// inner returns the first block of a span, and their number.
func (s Span) inner() (first uint32, count int) {
	low := (uint64(s.First) + BlockSize - 1) / BlockSize
	high := (uint64(s.Last) + 1) / BlockSize
	return uint32(low), max(int(high)-int(low), 0)
}

// blocks returns the number of blocks within the bounds.
func (c *config) blocks() (n int) {
	for _, s := range c.bounds {
		_, count := s.inner()
		n += count
	}
	return n
}

// block returns the first id of block n within the bounds.
func (c *config) block(n int) uint32 {
	for _, s := range c.bounds {
		first, count := s.inner()
		if n < count {
			return (first + uint32(n)) * BlockSize
		}
		n -= count
	}
	panic("block out of bounds")
}

// has reports whether a block is within the bounds.
func (c *config) has(first uint32) bool {
	for _, s := range c.bounds {
		if first >= s.First && first <= s.Last && s.Last-first >= BlockSize-1 {
			return true
		}
	}
	return false
}

func (c *config) describe() string {
	texts := make([]string, len(c.bounds))
	for i, s := range c.bounds {
		texts[i] = s.String()
	}
	return strings.Join(texts, ", ")
}

// Wanted is a value of --user-remap: ids of the host, or a range of the registry.
type Wanted struct {
	idmap.Remap
	// IsAuto is set for a range of Size ids, which is 0 for the default.
	IsAuto bool
	Size   uint32
}

// ParseRemap parses uid:gid:offset, auto or auto:SIZE.
func ParseRemap(text string) (w Wanted, err error) {
	if w.Size, w.IsAuto, err = parseAuto(text); err == nil && !w.IsAuto {
		w.Remap, err = idmap.ParseRemap(text)
	}
	return w, err
}

// parseAuto parses auto and auto:SIZE. isAuto is false for all other values.
func parseAuto(text string) (size uint32, isAuto bool, err error) {
	if text == "auto" {
		return 0, true, nil
	}
	value, isAuto := strings.CutPrefix(text, "auto:")
	if !isAuto {
		return 0, false, nil
	}
	size, err = ParseSize(value)
	if err != nil {
		err = fmt.Errorf("user remap %q: %w", text, err)
	}
	return size, true, err
}

// ParseSize parses the size of a range, a decimal number without leading zeros.
func ParseSize(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n > BlockSize || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("size %q, want a decimal number from 1 to %d", text, BlockSize)
	}
	return uint32(n), nil
}
