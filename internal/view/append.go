package view

import "strconv"

// appendUint appends n in decimal.
func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }

// appendPadded appends n in decimal, with spaces before it to fill width columns (printf's "%*lu").
func appendPadded(dst []byte, n uint64, width int) []byte {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			break
		}
	}
	for pad := width - (len(digits) - i); pad > 0; pad-- {
		dst = append(dst, ' ')
	}
	return append(dst, digits[i:]...)
}

// appendHundredths appends n hundredths as a decimal fraction (printf's "%lu.%02lu").
func appendHundredths(dst []byte, n uint64) []byte {
	dst = appendUint(dst, n/100)
	return append(dst, '.', byte('0'+n/10%10), byte('0'+n%10))
}

// minus is a - b, or 0 where b is more.
func minus(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// plus is a + b, or the greatest number where that is too much.
func plus(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}
