package view

// slabinfoHeader is what the kernel writes before the caches (mm/slab_common.c).
const slabinfoHeader = "slabinfo - version: 2.1\n" +
	"# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>" +
	" : tunables <limit> <batchcount> <sharedfactor>" +
	" : slabdata <active_slabs> <num_slabs> <sharedavail>\n"

// Slabinfo is /proc/slabinfo: the container's memory.kmem.slabinfo, or a text without any cache where there is none.
func Slabinfo(dst []byte, cgroupText []byte) []byte {
	if len(cgroupText) == 0 {
		return append(dst, slabinfoHeader...)
	}
	return append(dst, cgroupText...)
}
