package walk

import (
	"fmt"
	"strings"
	"sync"
)

const maxExamples = 5

// failures counts files that failed and keeps the first errors.
type failures struct {
	mu    sync.Mutex
	count int
	first []string
}

func (f *failures) add(path string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; len(f.first) < maxExamples {
		f.first = append(f.first, fmt.Sprintf("%q: %v", path, err))
	}
}

// err returns nil if nothing failed.
func (f *failures) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == 0 {
		return nil
	}
	text := strings.Join(f.first, "; ")
	if more := f.count - len(f.first); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return fmt.Errorf("files that failed: %d: %s", f.count, text)
}
