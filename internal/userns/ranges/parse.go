package ranges

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"palisade/internal/oci/idmap"
)

// Span is a set of consecutive ids that something uses or may use.
type Span struct {
	First, Last uint32
	// By says what has the ids, for errors.
	By string
}

// String returns first-last.
func (s Span) String() string { return fmt.Sprintf("%d-%d", s.First, s.Last) }

func (s Span) overlaps(o Span) bool { return s.First <= o.Last && o.First <= s.Last }

// newSpan returns the span of count ids. It ends at the last id.
func newSpan(first uint32, count uint64, by string) Span {
	return Span{first, uint32(min(uint64(first)+count-1, idmap.Max)), by}
}

func parseID(text string) (id uint32, ok bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n <= idmap.Max
}

// lines calls do with the fields of each line and the words that name the line in errors.
func lines(text []byte, file, separator string, do func(fields []string, by string)) {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		fields := strings.Split(strings.TrimSpace(string(line)), separator)
		do(fields, fmt.Sprintf("%s line %d, %q", file, n, fields[0]))
	}
}

// parseSubids returns the ranges of all users in /etc/subuid or /etc/subgid (subuid(5)). Like
// shadow, it ignores invalid lines.
func parseSubids(text []byte, file string) (spans []Span) {
	lines(text, file, ":", func(fields []string, by string) {
		if len(fields) != 3 {
			return
		}
		first, ok := parseID(fields[1])
		count, err := strconv.ParseUint(fields[2], 10, 64)
		if ok && err == nil && count > 0 {
			spans = append(spans, newSpan(first, min(count, 1<<32), by))
		}
	})
	return spans
}

// parseIDs returns the ids in the third field of /etc/passwd or /etc/group (passwd(5), group(5)),
// and the primary groups of /etc/passwd.
func parseIDs(text []byte, file string) (spans []Span) {
	lines(text, file, ":", func(fields []string, by string) {
		for i := 2; i < min(len(fields), 4); i++ {
			if id, ok := parseID(fields[i]); ok {
				spans = append(spans, newSpan(id, 1, by))
			}
		}
	})
	return spans
}

// parseLoginDefs returns the ranges in which useradd(8) allocates ids (login.defs(5)). Values may
// be decimal, octal or hexadecimal.
func parseLoginDefs(text []byte, file string) (spans []Span) {
	values := make(map[string]uint32)
	for line := range bytes.Lines(text) {
		if fields := strings.Fields(string(line)); len(fields) >= 2 {
			if n, err := strconv.ParseUint(fields[1], 0, 32); err == nil {
				values[fields[0]] = uint32(min(n, idmap.Max))
			}
		}
	}
	for _, kind := range []string{"UID", "GID", "SUB_UID", "SUB_GID"} {
		first, hasMin := values[kind+"_MIN"]
		last, hasMax := values[kind+"_MAX"]
		if hasMin && hasMax && first <= last {
			by := fmt.Sprintf("%s, %s_MIN to %s_MAX", file, kind, kind)
			spans = append(spans, Span{first, last, by})
		}
	}
	return spans
}

// Ranges of directories of users, whose ids are not in files: SSSD maps the accounts of Active
// Directory to ldap_idmap_range_min to ldap_idmap_range_max (sssd-ad(5)), and FreeIPA delegates
// subordinate ids from 2^31 on.
var (
	sssdSpan   = Span{200000, 2000199999, "nsswitch.conf: sss, default range of SSSD"}
	subidsSpan = Span{1 << 31, 4294836223, "nsswitch.conf: subid, range of FreeIPA"}
)

// parseNSSwitch returns the ranges of services that are not files (nsswitch.conf(5)).
func parseNSSwitch(text []byte) (spans []Span) {
	for line := range bytes.Lines(text) {
		text, _, _ := strings.Cut(string(line), "#")
		database, services, _ := strings.Cut(strings.TrimSpace(text), ":")
		hasSSS := slices.Contains(strings.Fields(services), "sss")
		switch {
		case hasSSS && (database == "passwd" || database == "group"):
			spans = append(spans, sssdSpan)
		case hasSSS && database == "subid":
			spans = append(spans, subidsSpan)
		}
	}
	return spans
}

// parseStorageConf returns the ranges of remap-uids and remap-gids (containers-storage.conf(5)).
// The users that the file names have their ranges in /etc/subuid.
func parseStorageConf(text []byte, file string) (spans []Span) {
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(string(line), "=")
		key = strings.TrimSpace(key)
		if key != "remap-uids" && key != "remap-gids" {
			continue
		}
		isSeparator := func(r rune) bool { return strings.ContainsRune(" \t\r\n\",'[]", r) }
		for _, part := range strings.FieldsFunc(value, isSeparator) {
			fields := strings.Split(part, ":")
			if len(fields) != 3 {
				continue
			}
			first, ok := parseID(fields[1])
			count, hasCount := parseID(fields[2])
			if ok && hasCount && count > 0 {
				spans = append(spans, newSpan(first, uint64(count), file+", "+key))
			}
		}
	}
	return spans
}

// parseSpan parses first-last.
func parseSpan(text string) (Span, error) {
	from, to, ok := strings.Cut(text, "-")
	first, okFirst := parseID(from)
	last, okLast := parseID(to)
	if !ok || !okFirst || !okLast || first > last {
		return Span{}, fmt.Errorf("range %q, want FIRST-LAST, both from 0 to %d",
			text, uint32(idmap.Max))
	}
	return Span{First: first, Last: last}, nil
}
