package view

// LoadOne is a load of 1 in the fixed point of Load.Avg, the kernel's FIXED_1.
const LoadOne = 1 << 11

// loadRounding is half a hundredth; the kernel adds it before it cuts off what is less than a hundredth.
const loadRounding = LoadOne / 200

// Load is the load of a container.
type Load struct {
	// Avg has the averages over 1, 5 and 15 minutes in units of 1/LoadOne.
	Avg [3]uint64
	// Tasks tells of its running ones, all, and the last pid.
	Tasks Tasks
}

// Loadavg is /proc/loadavg.
func Loadavg(dst []byte, l Load) []byte {
	for _, avg := range l.Avg {
		avg = plus(avg, loadRounding)
		dst = appendHundredths(dst, avg/LoadOne*100+avg%LoadOne*100/LoadOne)
		dst = append(dst, ' ')
	}
	dst = appendUint(dst, uint64(max(l.Tasks.Running, 0)))
	dst = append(dst, '/')
	dst = appendUint(dst, uint64(max(l.Tasks.Total, 0)))
	dst = append(dst, ' ')
	dst = appendUint(dst, uint64(max(l.Tasks.LastPID, 0)))
	return append(dst, '\n')
}
