package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"palisade/test/ctr"
)

// coldServers are the directories of dirs whose reads measureCold compares.
var coldServers = []string{"/bench/ours", "/bench/rival", "/bench/minimal"}

// measureCold measures reads after pauses, as of a monitor. Each cell is the median of short runs
// in turn: where the scheduler places reader and server changes between runs.
func measureCold(ctx context.Context, c *ctr.Container, seconds time.Duration) error {
	const runs = 3
	for _, pause := range []time.Duration{
		time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond, time.Second,
	} {
		fmt.Printf("\nopen, read to the end, close after a pause of %v; %d runs in turn; median in µs; "+
			"minimal: a server in Go with constant content\n", pause, runs)
		fmt.Printf("%-10s %9s %9s %9s %13s %13s\n", "file", "ours", "rival", "minimal",
			"rival : ours", "ours : minimal")
		rounds := max(5, min(200, int(seconds/pause)))
		for _, file := range files {
			medians := make([][]float64, len(coldServers))
			for range runs {
				for i, dir := range coldServers {
					out, err := c.Exec(ctx, "load", "cold", strconv.Itoa(int(pause.Microseconds())),
						strconv.Itoa(rounds), dir+"/"+file)
					if err != nil {
						return err
					}
					m, err := parseTimes(out, 1)
					if err != nil {
						return err
					}
					medians[i] = append(medians[i], m[0])
				}
			}
			var m []float64
			for _, all := range medians {
				slices.Sort(all)
				m = append(m, all[len(all)/2]/1e3)
			}
			fmt.Printf("%-10s %9.0f %9.0f %9.0f %13.2f %13.2f\n", strings.TrimSpace(file),
				m[0], m[1], m[2], m[1]/m[0], m[0]/m[2])
		}
	}
	return nil
}
