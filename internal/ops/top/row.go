// Package top shows running containers with the values that lxcfs shows in them: once, or on a
// terminal until the user quits.
package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"palisade/internal/inject/engine"
)

// Row is a container with its values. Unknown ones are nil.
type Row struct {
	ID     string   `json:"id"`
	Names  []string `json:"names"`
	Engine string   `json:"engine"`
	PID    int      `json:"pid"`
	// CPUPercent is the CPU time in percent of one CPU.
	CPUPercent *float64 `json:"cpu_percent"`
	CPUs       *int     `json:"cpus"`
	// MemoryUsed is the memory that is not available, MemoryTotal the limit.
	MemoryUsed  *uint64 `json:"memory_used_bytes"`
	MemoryTotal *uint64 `json:"memory_total_bytes"`
	SwapUsed    *uint64 `json:"swap_used_bytes"`
	SwapTotal   *uint64 `json:"swap_total_bytes"`
	// Load are the averages over 1, 5 and 15 minutes.
	Load         *[3]float64 `json:"load"`
	TasksRunning *int        `json:"tasks_running"`
	Tasks        *int        `json:"tasks"`
	Uptime       *float64    `json:"uptime_seconds"`
}

// newRow returns the row of a container, given two samples. The first one may be empty.
func newRow(c *engine.Container, before, now *Look) Row {
	r := Row{
		ID: c.ID, Names: c.Names, Engine: c.Engine, PID: c.PID,
		CPUPercent: CPUPercent(before, now),
	}
	if r.Names == nil {
		r.Names = []string{}
	}
	if now.CPU != nil {
		r.CPUs = &now.CPU.CPUs
	}
	if m := now.Memory; m != nil {
		used, swapUsed := m.Total-min(m.Available, m.Total), m.SwapTotal-min(m.SwapFree, m.SwapTotal)
		r.MemoryUsed, r.MemoryTotal, r.SwapUsed, r.SwapTotal = &used, &m.Total, &swapUsed, &m.SwapTotal
	}
	if now.Load != nil {
		r.Load, r.TasksRunning, r.Tasks = &now.Load.Average, &now.Load.Running, &now.Load.Tasks
	}
	if now.Uptime != nil {
		seconds := now.Uptime.Seconds()
		r.Uptime = &seconds
	}
	return r
}

// isKnown reports whether the row has any value.
func (r *Row) isKnown() bool {
	return r.CPUs != nil || r.MemoryTotal != nil || r.Load != nil || r.Uptime != nil
}

// name returns the names of the container, separated by commas.
func (r *Row) name() string { return strings.Join(r.Names, ",") }

// Order is an order of rows.
type Order int

// Orders: the largest first, or by name.
const (
	ByCPU Order = iota
	ByMemory
	ByLoad
	ByName
	orders
)

var orderNames = [orders]string{"cpu", "memory", "load", "name"}

func (o Order) String() string { return orderNames[o] }

// OrderNames returns the names of all orders.
func OrderNames() []string { return orderNames[:] }

// ParseOrder returns the order with the name.
func ParseOrder(name string) (Order, error) {
	if i := slices.Index(orderNames[:], name); i >= 0 {
		return Order(i), nil
	}
	return 0, fmt.Errorf("%q is none of %s", name, strings.Join(orderNames[:], ", "))
}

// Sort sorts rows. Those without the value come last.
func Sort(rows []Row, by Order) {
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.sortKey(by), a.sortKey(by)), cmp.Compare(a.name(), b.name()),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.PID, b.PID))
	})
}

// sortKey returns the value of an order, -1 if it is unknown.
func (r *Row) sortKey(by Order) float64 {
	switch {
	case by == ByCPU && r.CPUPercent != nil:
		return *r.CPUPercent
	case by == ByMemory && r.MemoryUsed != nil:
		return float64(*r.MemoryUsed)
	case by == ByLoad && r.Load != nil:
		return r.Load[0]
	}
	return -1
}
