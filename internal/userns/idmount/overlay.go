package idmount

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// OverlayLayers returns the directories of an overlay's layers that its options name by absolute
// paths. Symbolic links in the paths are resolved.
func OverlayLayers(overlay *mountinfo.Info) (paths []string) {
	for _, p := range optionPaths(overlay.VFSOptions, "lowerdir", "upperdir", "workdir") {
		if resolved, err := filepath.EvalSymlinks(p); err == nil && filepath.IsAbs(p) {
			paths = append(paths, resolved)
		}
	}
	return paths
}

// optionPaths returns the paths in the options with the keys. A lowerdir has several, separated by
// colons; in all options the kernel writes blanks, commas and backslashes in octal.
func optionPaths(options string, keys ...string) (paths []string) {
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		if !slices.Contains(keys, strings.TrimSuffix(key, "+")) {
			continue
		}
		value = unescapeOctal(value)
		if key == "lowerdir" {
			paths = append(paths, splitLayers(value)...)
		} else {
			paths = append(paths, value)
		}
	}
	return paths
}

// unescapeOctal replaces each backslash followed by three octal digits by the byte they stand for.
func unescapeOctal(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		if text[0] == '\\' && len(text) >= 4 {
			if c, err := strconv.ParseUint(text[1:4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				text = text[4:]
				continue
			}
		}
		b.WriteByte(text[0])
		text = text[1:]
	}
	return b.String()
}

// splitLayers splits the value of lowerdir, in which a backslash stands before a colon or comma
// that is part of a path.
func splitLayers(value string) (paths []string) {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && i+1 < len(value):
			i++
			b.WriteByte(value[i])
		case c == ':':
			paths = append(paths, b.String())
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return append(paths, b.String())
}
