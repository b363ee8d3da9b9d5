package wrapper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go/features"

	"palisade/internal/linux/sys"
)

const (
	// featuresTime bounds the time that a runtime takes to answer. An emulated CPU needs seconds.
	featuresTime = 30 * time.Second
	// featuresAge is the time for which an answer is kept. The program may be another wrapper, whose
	// runtime is replaced without a change of the wrapper.
	featuresAge = time.Minute
	// maxFeatures is the maximum size of a kept answer, in bytes.
	maxFeatures = 64 << 10
)

// Features returns the annotations and the namespaces of the features of the runtime (runtime-spec,
// features.md), or none if it has no command that prints them. It asks the runtime, which takes some
// milliseconds, or reads an answer that is less than a minute old from a file in the directory dir,
// which only root may write to.
func (r Runtime) Features(dir string) (*features.Features, error) {
	id, err := identify(r.Path)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, fmt.Sprintf("features-%x-%x.json", id.Device, id.Inode))
	if f, ok := keptFeatures(file, id); ok {
		return f, nil
	}
	f, err := r.askFeatures()
	if err != nil {
		return nil, err
	}
	kept, err := json.Marshal(keptAnswer{Program: id, Features: f})
	if err == nil {
		if err = os.MkdirAll(dir, 0o700); err == nil {
			err = sys.ReplaceFile(file, kept, nil)
		}
	}
	if err != nil && !errors.Is(err, os.ErrPermission) { // other users have no file
		return nil, fmt.Errorf("keep features of %s: %w", r.Name, err)
	}
	return f, nil
}

// program identifies the content of a program.
type program struct {
	Device, Inode  uint64
	Size, Modified int64
}

func identify(path string) (program, error) {
	info, err := os.Stat(path)
	if err != nil {
		return program{}, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return program{}, fmt.Errorf("stat %s: no inode number", path)
	}
	return program{uint64(stat.Dev), stat.Ino, stat.Size, info.ModTime().UnixNano()}, nil
}

// keptAnswer is the content of the file with an answer.
type keptAnswer struct {
	Program  program
	Features *features.Features
}

func keptFeatures(file string, id program) (*features.Features, bool) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, false
	}
	if age := time.Since(info.ModTime()); age < 0 || age > featuresAge {
		return nil, false
	}
	text, err := sys.ReadRegular(file, maxFeatures)
	if err != nil {
		return nil, false
	}
	var kept keptAnswer
	if err := json.Unmarshal(text, &kept); err != nil || kept.Program != id || kept.Features == nil {
		return nil, false
	}
	return kept.Features, true
}

// askFeatures runs the command features of the runtime.
func (r Runtime) askFeatures() (*features.Features, error) {
	ctx, cancel := context.WithTimeout(context.Background(), featuresTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Path, "features")
	cmd.Args[0] = r.Name
	cmd.WaitDelay = time.Second
	text, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s features: no answer in %v", r.Name, featuresTime)
	case errors.As(err, &exit):
		return new(features.Features), nil // it has no such command
	case err != nil:
		return nil, err
	}
	var all features.Features
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("parse output of %s features: %w", r.Name, err)
	}
	f := &features.Features{Annotations: all.Annotations}
	if all.Linux != nil {
		f.Linux = &features.Linux{Namespaces: all.Linux.Namespaces}
	}
	return f, nil
}
