package view

import (
	"bytes"
	"time"

	"palisade/internal/linux/ktext"
)

// appendBootTime appends a time of boot, in seconds since 1970, and a newline, for a time namespace
// with the offset of CLOCK_BOOTTIME (show_stat() in fs/proc/stat.c). The result is exact for whole
// seconds, else at most one too large, since /proc/stat omits the fraction.
func appendBootTime(dst []byte, seconds uint64, offset time.Duration) []byte {
	whole := offset / time.Second
	if offset%time.Second < 0 {
		whole--
	}
	if whole < 0 {
		seconds = ktext.Add(seconds, uint64(-whole))
	} else {
		seconds = ktext.Sub(seconds, uint64(whole))
	}
	return append(appendUint(dst, seconds), '\n')
}

// bootKey precedes the time of boot in /proc/stat.
const bootKey = "\nbtime "

// MoveStat appends the host's /proc/stat as the kernel shows it in a time namespace with the offset
// of CLOCK_BOOTTIME.
func MoveStat(dst, host []byte, offset time.Duration) []byte {
	before, after, _ := bytes.Cut(host, []byte(bootKey))
	value, rest, _ := bytes.Cut(after, []byte("\n"))
	seconds, ok := ktext.Number(value)
	if !ok {
		return append(dst, host...)
	}
	dst = append(append(dst, before...), bootKey...)
	return append(appendBootTime(dst, seconds, offset), rest...)
}

// MoveUptime appends the host's /proc/uptime as the kernel shows it in such a namespace: the idle
// time is the host's.
func MoveUptime(dst, host []byte, offset time.Duration) []byte {
	uptime, idle := ktext.Field(host)
	age, err := time.ParseDuration(string(uptime) + "s")
	if err != nil {
		return append(dst, host...)
	}
	dst = appendHundredths(dst, uint64(max(age+offset, 0))/nanosPerHundredth)
	return append(dst, idle...)
}
