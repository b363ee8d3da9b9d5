package view

// slabinfoHeader is the header without caches (print_slabinfo_header() in mm/slab_common.c).
const slabinfoHeader = "slabinfo - version: 2.1\n" +
	"# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>" +
	" : tunables <limit> <batchcount> <sharedfactor>" +
	" : slabdata <active_slabs> <num_slabs> <sharedavail>\n"

// Slabinfo appends /proc/slabinfo: the container's memory.kmem.slabinfo, or only a header if that
// is empty.
func Slabinfo(dst, kmemSlabinfo []byte) []byte {
	if len(kmemSlabinfo) == 0 {
		return append(dst, slabinfoHeader...)
	}
	return append(dst, kmemSlabinfo...)
}
