// Package top shows running containers with the values that lxcfs shows in them: once, or on a
// terminal until the user quits.
package top

import (
	"cmp"
	"slices"
	"strings"
)

// Row is a container with its values.
type Row struct {
	ID     string   `json:"id"`
	Names  []string `json:"names"`
	Engine string   `json:"engine"`
	PID    int      `json:"pid"`
	// CPUPercent is the CPU time in percent of one CPU, nil if it is unknown.
	CPUPercent *float64 `json:"cpu_percent"`
	Values
}

// name returns the names of the container, separated by commas.
func (r *Row) name() string { return strings.Join(r.Names, ",") }

// Orders are the orders of rows: the largest first, or by name. They differ in the first letter.
var Orders = []string{"cpu", "memory", "load", "name"}

// Sort sorts rows by one of Orders. Those without the value come last.
func Sort(rows []Row, by string) {
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.sortKey(by), a.sortKey(by)), cmp.Compare(a.name(), b.name()),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.PID, b.PID))
	})
}

// sortKey returns the value of an order, -1 if it is unknown.
func (r *Row) sortKey(by string) float64 {
	switch {
	case by == "cpu" && r.CPUPercent != nil:
		return *r.CPUPercent
	case by == "memory" && r.MemoryUsed != nil:
		return float64(*r.MemoryUsed)
	case by == "load" && r.Load != nil:
		return r.Load[0]
	}
	return -1
}
