package view

import "strconv"

func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }

// appendPadded appends n, right-aligned in width columns (printf's "%*lu").
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

// appendHundredths appends n/100 with two decimals (printf's "%lu.%02lu").
func appendHundredths(dst []byte, n uint64) []byte {
	dst = appendUint(dst, n/100)
	return append(dst, '.', byte('0'+n/10%10), byte('0'+n%10))
}
