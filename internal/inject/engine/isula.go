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

// findIsula lists the containers of iSulad by its client: the API is gRPC.
func findIsula(ctx context.Context, isula string) ([]finding, error) {
	cmd := exec.CommandContext(
		ctx, isula, "ps", "--no-trunc", "--format", "{{.ID}} {{.Pid}} {{.Names}}",
	)
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

// parseIsula parses the output of isula ps: columns padded with blanks, and "-" as the pid of a
// container that is not running.
func parseIsula(text string) ([]finding, error) {
	var found []finding
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || len(fields) > 1 && fields[1] == "-" {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("isula ps: %.200q: want three columns", line)
		}
		pid, err := strconv.Atoi(fields[1])
		if err == nil {
			err = oci.CheckID(fields[0])
		}
		if err != nil {
			return nil, fmt.Errorf("isula ps: %.200q: %w", line, err)
		}
		found = append(found, finding{Container: Container{
			ID: fields[0], Names: []string{fields[2]}, Engine: "isulad", PID: pid,
		}})
	}
	return found, nil
}
