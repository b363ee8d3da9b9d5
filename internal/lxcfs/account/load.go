package account

import (
	"math"
	"time"
)

var loadSpans = [3]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

// Load holds the load averages of a container over 1, 5 and 15 minutes: exponentially damped
// averages of the number of tasks that run, wait for a CPU, or sleep uninterruptibly
// (kernel/sched/loadavg.c).
type Load [3]float64

// Sample records that n tasks were active since the previous sample.
func (l *Load) Sample(n int, since time.Duration) {
	for i, span := range loadSpans {
		decay := math.Exp(-since.Seconds() / span.Seconds())
		l[i] = l[i]*decay + float64(n)*(1-decay)
	}
}
