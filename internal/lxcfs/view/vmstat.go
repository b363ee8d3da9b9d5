package view

import (
	"palisade/internal/linux/cgroup"
	"palisade/internal/linux/procfs"
)

// PageSizes are the units of /proc/vmstat, in bytes.
type PageSizes struct {
	Page uint64
	// Huge is the size of a transparent huge page, or 0 if the kernel has none.
	Huge uint64
}

// vmstatUnit is the unit of a value of /proc/vmstat.
type vmstatUnit uint8

const (
	unitPage vmstatUnit = iota
	unitHugePage
	unitKB
	// unitEvent is for the counter of a cgroup.Event.
	unitEvent
	// unitHost is for a value that is the host's.
	unitHost
)

// vmstatValue says where a value comes from: a field of meminfo, the sum of two, or an event.
type vmstatValue struct {
	unit        vmstatUnit
	field, plus procfs.MemField
	event       cgroup.Event
}

// vmstatValues has the keys whose value is not 0. The thresholds are those of the host, at which the
// kernel throttles writers in containers, too.
var vmstatValues = map[string]vmstatValue{
	"nr_free_pages":                 {field: procfs.MemFree},
	"nr_zone_inactive_anon":         {field: procfs.MemInactiveAnon},
	"nr_zone_active_anon":           {field: procfs.MemActiveAnon},
	"nr_zone_inactive_file":         {field: procfs.MemInactiveFile},
	"nr_zone_active_file":           {field: procfs.MemActiveFile},
	"nr_zone_unevictable":           {field: procfs.MemUnevictable},
	"nr_zone_write_pending":         {field: procfs.MemDirty, plus: procfs.MemWriteback},
	"nr_mlock":                      {field: procfs.MemMlocked},
	"nr_inactive_anon":              {field: procfs.MemInactiveAnon},
	"nr_active_anon":                {field: procfs.MemActiveAnon},
	"nr_inactive_file":              {field: procfs.MemInactiveFile},
	"nr_active_file":                {field: procfs.MemActiveFile},
	"nr_unevictable":                {field: procfs.MemUnevictable},
	"nr_slab_reclaimable":           {field: procfs.MemSReclaimable},
	"nr_slab_unreclaimable":         {field: procfs.MemSUnreclaim},
	"nr_anon_pages":                 {field: procfs.MemAnonPages},
	"nr_mapped":                     {field: procfs.MemMapped},
	"nr_file_pages":                 {field: procfs.MemFilePages},
	"nr_dirty":                      {field: procfs.MemDirty},
	"nr_writeback":                  {field: procfs.MemWriteback},
	"nr_shmem":                      {field: procfs.MemShmem},
	"nr_page_table_pages":           {field: procfs.MemPageTables},
	"nr_sec_page_table_pages":       {field: procfs.MemSecPageTables},
	"nr_swapcached":                 {field: procfs.MemSwapCached},
	"nr_anon_transparent_hugepages": {unit: unitHugePage, field: procfs.MemAnonHugePages},
	"nr_shmem_hugepages":            {unit: unitHugePage, field: procfs.MemShmemHugePages},
	"nr_file_hugepages":             {unit: unitHugePage, field: procfs.MemFileHugePages},
	"nr_kernel_stack":               {unit: unitKB, field: procfs.MemKernelStack},
	"nr_dirty_threshold":            {unit: unitHost},
	"nr_dirty_background_threshold": {unit: unitHost},
}

func init() {
	for e := range cgroup.NumEvents {
		vmstatValues[e.String()] = vmstatValue{unit: unitEvent, event: e}
	}
}

// Vmstat appends /proc/vmstat of a container, or the same file of a NUMA node, with the values v of
// meminfo. A value that no cgroup has is 0: the host's would say what other containers do.
func Vmstat(
	dst []byte, host *procfs.Vmstat, v *procfs.MemValues, events *cgroup.Events, sizes PageSizes,
) []byte {
	for i := range host.Lines {
		l := &host.Lines[i]
		dst = append(append(dst, l.Key...), ' ')
		var n uint64
		if value, ok := vmstatValues[string(l.Key)]; ok {
			switch value.unit {
			case unitEvent:
				n = events[value.event]
			case unitHost:
				n = l.Value
			default:
				n = value.of(v, sizes)
			}
		}
		dst = append(appendUint(dst, n), '\n')
	}
	return dst
}

// of returns the value of a field of meminfo in its unit.
func (f vmstatValue) of(v *procfs.MemValues, sizes PageSizes) uint64 {
	kB := v[f.field]
	if f.plus != procfs.MemOther {
		kB += v[f.plus]
	}
	switch {
	case f.unit == unitKB:
		return kB
	case f.unit == unitPage:
		return kB / (sizes.Page / 1024)
	case sizes.Huge == 0:
		return 0
	}
	return kB / (sizes.Huge / 1024)
}
