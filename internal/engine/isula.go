package engine

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"palisade/internal/oci"
)

// findIsula asks iSulad by its client, since its API is gRPC.
func findIsula(ctx context.Context, isula string) ([]finding, error) {
	cmd := exec.CommandContext(ctx, isula, "ps", "--no-trunc", "--format", "{{.ID}} {{.Pid}} {{.Names}}")
	cmd.WaitDelay = 100 * time.Millisecond
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("isula ps: %w", ctx.Err())
	}
	if err != nil {
		message, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return nil, fmt.Errorf("isula ps: %w: %.200s", err, message)
	}
	return parseIsula(string(out))
}

// parseIsula parses the lines of the containers: columns padded with blanks, "-" for the pid of one that does not run.
func parseIsula(text string) ([]finding, error) {
	var found []finding
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || len(fields) > 1 && fields[1] == "-" {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("isula ps: %.200q does not have three columns", line)
		}
		pid, err := strconv.Atoi(fields[1])
		if err == nil {
			err = oci.CheckID(fields[0])
		}
		if err != nil {
			return nil, fmt.Errorf("isula ps: %.200q: %w", line, err)
		}
		found = append(found, finding{Container: Container{ID: fields[0], Names: []string{fields[2]}, Engine: "isulad", PID: pid}})
	}
	return found, nil
}
