// Package stat has the statistics of the benchmarks.
package stat

import "slices"

// Median returns the median, the mean of the middle two of an even number of values, or 0 without
// values. It does not change their order.
func Median[T ~int64 | ~float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
