package idmount

import (
	"path/filepath"
	"slices"
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
		value = octalEscapes.Replace(value)
		if key == "lowerdir" {
			paths = append(paths, splitLayers(value)...)
		} else {
			paths = append(paths, value)
		}
	}
	return paths
}

// octalEscapes are those that the kernel uses in options of mounts (seq_show_option, mangle).
var octalEscapes = strings.NewReplacer(`\011`, "\t", `\012`, "\n", `\040`, " ", `\043`, "#",
	`\054`, ",", `\072`, ":", `\075`, "=", `\134`, `\`)

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
