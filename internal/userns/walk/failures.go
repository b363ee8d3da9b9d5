package walk

import (
	"fmt"
	"strings"
	"sync"
)

// Examples counts files with something in common, and describes the first ones.
type Examples struct {
	Count uint64
	first []string
}

const maxExamples = 5

// Add counts a file. It calls text only for one of the first.
func (x *Examples) Add(text func() string) {
	if x.Count++; len(x.first) < maxExamples {
		x.first = append(x.first, text())
	}
}

// List returns the descriptions, and after the word last how many more files there are.
func (x *Examples) List(separator, last string) string {
	text := strings.Join(x.first, separator)
	if more := x.Count - uint64(len(x.first)); more > 0 {
		text += fmt.Sprintf("%s%d more", last, more)
	}
	return text
}

// failures holds the files that failed.
type failures struct {
	mu    sync.Mutex
	files Examples
}

func (f *failures) add(path string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files.Add(func() string { return fmt.Sprintf("%q: %v", path, err) })
}

// err returns nil if nothing failed. The caller must have waited for all calls of add.
func (f *failures) err() error {
	if f.files.Count == 0 {
		return nil
	}
	return fmt.Errorf("files that failed: %d: %s", f.files.Count, f.files.List("; ", "; and "))
}
