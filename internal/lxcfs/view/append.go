package view

import "strconv"

func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }

// appendPadded appends n, right-aligned in width columns (printf's "%*lu").
func appendPadded(dst []byte, n uint64, width int) []byte {
	var buf [20]byte
	digits := appendUint(buf[:0], n)
	for range width - len(digits) {
		dst = append(dst, ' ')
	}
	return append(dst, digits...)
}

// appendHundredths appends n/100 with two decimals (printf's "%lu.%02lu").
func appendHundredths(dst []byte, n uint64) []byte {
	dst = appendUint(dst, n/100)
	return append(dst, '.', byte('0'+n/10%10), byte('0'+n%10))
}
