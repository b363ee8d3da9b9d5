// Package output writes the results of benchmarks as JSON, and plots them.
package output

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Files are the files for the results, "" for none.
type Files struct {
	json, svg string
	// plot is the path of test/bench/plot.
	plot string
}

// Flags adds the flags to those of the program. what says what the plot shows.
func (f *Files) Flags(what string) {
	flag.StringVar(&f.json, "json", "", "write the results to this file")
	flag.StringVar(&f.svg, "svg", "", "write "+what+" to this file")
}

// Prepare builds the program for the plot in dir: an error after the measurements would lose them.
func (f *Files) Prepare(ctx context.Context, dir string) error {
	if f.svg == "" {
		return nil
	}
	f.plot = filepath.Join(dir, "plot")
	cmd := exec.CommandContext(ctx, "go", "-C", "test/bench/plot", "build", "-o", f.plot, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build test/bench/plot: %w: %s", err, out)
	}
	return nil
}

// Write writes the results, and their plot by the program with args.
func (f *Files) Write(ctx context.Context, results any, args ...string) error {
	text, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		return err
	}
	if f.json != "" {
		if err := os.WriteFile(f.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if f.svg == "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, f.plot, args...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), os.Stderr
	image, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return os.WriteFile(f.svg, image, 0o644)
}
