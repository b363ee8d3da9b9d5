package account

import (
	"math"
	"time"
)

// loadSpans are the spans of the three load averages.
var loadSpans = [3]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

// Load is the load averages of a container over 1, 5 and 15 minutes, as kernel/sched/loadavg.c defines them: exponentially
// damped averages of the number of tasks that run, wait for a CPU, or sleep uninterruptibly.
type Load [3]float64

// Sample takes in that n tasks were active for the time since the sample before, however long that is.
func (l *Load) Sample(n int, since time.Duration) {
	for i, span := range loadSpans {
		decay := math.Exp(-since.Seconds() / span.Seconds())
		l[i] = l[i]*decay + float64(n)*(1-decay)
	}
}
