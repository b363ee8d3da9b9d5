package clients

import "strings"

// client is a program that runs in a container, and the figures that it shows.
type client struct {
	// name is the name in the table, pkg the package of Debian.
	name, pkg string
	// command is for a shell.
	command string
	figures []figure
}

// figure is a row of the table: what is shown, where it is read from, and the reason.
type figure struct {
	name, from string
	judge      judge
	why        string
}

// isCPUs reports whether the figure is a number of CPUs, which is judged with each kind of limit.
func (f *figure) isCPUs() bool { return strings.HasPrefix(f.name, "CPUs") }

// isTime reports whether the figure depends on the time of boot.
func (f *figure) isTime() bool {
	for _, name := range []string{"age", "ELAPSED", "%CPU", "STARTED", "boot", "start"} {
		if strings.HasPrefix(f.name, name) {
			return true
		}
	}
	return false
}

// dependsOnViews reports whether a view can change the figure.
func (f *figure) dependsOnViews() bool {
	return f.isTime() || strings.Contains(f.from, "sysinfo(2)") ||
		strings.Contains(f.from, "sched_getaffinity(2)")
}

// isSwap reports whether the figure needs a host with swap.
func (f *figure) isSwap() bool { return f.name == "swap" }

// Reasons that several rows share.
const (
	byAffinity   = "a system call: the answer has the cpuset, no quota"
	bySysinfo    = "a system call: no file system can answer it"
	noTimeNS     = "the age is the container's, start times count from the host's boot"
	bySysfs      = "lxcfs does not serve these files"
	byCgroup     = "reads the limits itself, without lxcfs"
	readsSize    = "takes the size for the length of the text"
	readsCPUs    = "counts the directories cpuN"
	numberedFrom = "processors are numbered from 0, each a socket"
)

// Patterns of load averages.
const (
	loads = `load average: ([\d.]+), ([\d.]+), ([\d.]+)`
	words = `(?i)load(?: average:)? ([\d.]+) ([\d.]+) ([\d.]+)`
)

const psCommand = `sh -c 'while :; do :; done' & sleep 2; ps -o etimes=,pcpu= -p $!; ` +
	`echo started $(date -d "$(ps -o lstart= -p $!)" +%s); kill $!`

const htopCommand = `(sleep 4; printf q) | ` +
	`timeout 20 script -qec 'stty cols 100 rows 30; htop' /dev/null | ` +
	`sed 's/\x1b\[[0-9;?]*[A-Za-z]//g; s/\x1b(B//g'`

const numactlCommand = `numactl --hardware >n
echo total $(busybox awk '/size:/ { sum += $4 } END { print sum }' n)
echo cpus $(busybox awk '/cpus:/ { sum += NF - 3 } END { print sum }' n)`

const lstopoCommand = `lstopo-no-graphics --of console >t; cat t; echo units $(grep -o 'PU L#' t | grep -c .)`

const nodeCommand = `node -e 'const os = require("os")
console.log("totalmem", os.totalmem(), "constrained", process.constrainedMemory())
console.log("cpus", os.cpus().length, "parallelism", os.availableParallelism())
console.log("booted", Math.floor(Date.now() / 1000 - os.uptime()))
console.log("load", ...os.loadavg())'`

const psutilCommand = `python3 -c 'import psutil
print("total", psutil.virtual_memory().total, "swap", psutil.swap_memory().total)
print("cpus", psutil.cpu_count(), "booted", int(psutil.boot_time()))
print("created", int(psutil.Process().create_time()))
for name in psutil.disk_io_counters(perdisk=True) or []: print("disk", name)'`

const pythonCommand = `python3 -c 'import os
print("cpus", os.cpu_count(), "affinity", len(os.sched_getaffinity(0)))
print("memory", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
print("load", *os.getloadavg())
import time
print("booted", int(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)))'`

const exporterCommand = `prometheus-node-exporter --collector.disable-defaults --collector.stat ` +
	`--web.listen-address=127.0.0.1:9100 >/dev/null 2>&1 & sleep 2
busybox wget -qO- http://127.0.0.1:9100/metrics; kill $!`

const nodeCopy = `node -e 'require("fs").copyFileSync("/proc/cpuinfo", "copy")'`

const pythonTar = `python3 -c 'import tarfile
with tarfile.open("t", "w") as t: t.add("/proc/cpuinfo")' && tar -xOf t >copy`

// clients lists the clients in the order of the table. strace(1) shows what each reads.
var clients = []client{
	{"free", "procps", "free -b", []figure{
		{"memory", "/proc/meminfo", memory(`Mem: +(\d+)`, 1), ""},
		{"swap", "/proc/meminfo", swap(`Swap: +(\d+)`, 1), ""},
	}},
	{"vmstat", "procps", "vmstat; vmstat -s", []figure{
		{"memory", "/proc/meminfo", memory(`(\d+) K total memory`, 1024), ""},
		{"interrupts, first line", "/proc/stat, /proc/uptime", interrupts(`(?m)^(?: +\d+){10} +(\d+)`),
			"the kernel counts them for the machine alone; lines after the first show its rates"},
	}},
	{"top", "procps", withLoad("top -bn1"), []figure{
		{"memory", "/proc/meminfo", memory(`MiB Mem : +([\d.]+)`, mib), ""},
		{"age", "/proc/uptime", up, ""},
		{"load", "/proc/loadavg", load(loads), ""},
	}},
	{"htop", "htop", htopCommand, []figure{
		{"memory", "/proc/meminfo", memory(`Mem\[[^\]]*/([\d.]+)M`, mib), ""},
		{"CPUs", "/sys/devices/system/cpu/cpuN/online", cpuList(`\b(\d+|CPU)\[[| ]*[\d.]+%\]`), readsCPUs},
	}},
	{"uptime", "procps", withLoad(`uptime; echo booted $(date -d "$(uptime -s)" +%s)`), []figure{
		{"age", "/proc/uptime", since(`booted (\d+)`), ""},
		{"load", "/proc/loadavg", load(loads), ""},
	}},
	{"w", "procps", withLoad("w"), []figure{
		{"age", "/proc/uptime", up, ""},
		{"load", "/proc/loadavg", load(loads), ""},
	}},
	{"ps", "procps", psCommand, []figure{
		{"ELAPSED", "/proc/PID/stat, /proc/uptime", recent(`(?m)^ *(\d+) +[\d.]+$`), noTimeNS},
		{"%CPU", "/proc/PID/stat, /proc/uptime", busy(`(?m)^ *\d+ +([\d.]+)$`), noTimeNS},
		{"STARTED", "/proc/PID/stat, btime of /proc/stat", since(`started (\d+)`),
			"btime is the host's, and start times count from it"},
	}},
	{"nproc", "coreutils", "nproc", []figure{
		{"CPUs", "sched_getaffinity(2)", cpus(`(\d+)`), byAffinity},
	}},
	{"nproc --all", "coreutils", "nproc --all", []figure{
		{"CPUs", "/sys/devices/system/cpu/possible", cpus(`(\d+)`),
			"per-CPU data and rseq(2) are sized by it, so it must be the host's"},
	}},
	{"getconf _NPROCESSORS_ONLN", "libc-bin", "getconf _NPROCESSORS_ONLN", []figure{
		{"CPUs", "/sys/devices/system/cpu/online", cpus(`(\d+)`), ""},
	}},
	{"getconf _NPROCESSORS_CONF", "libc-bin", "getconf _NPROCESSORS_CONF", []figure{
		{"CPUs", "/sys/devices/system/cpu/possible", cpus(`(\d+)`), "as for nproc --all"},
	}},
	{"getconf _PHYS_PAGES", "libc-bin", "echo $(getconf _PHYS_PAGES) pages", []figure{
		{"memory", "sysinfo(2)", memory(`(\d+) pages`, 4096), bySysinfo},
	}},
	{"lscpu", "util-linux", `lscpu; echo online $(lscpu --parse=CPU | grep -vc '#')`, []figure{
		{"CPUs, all", "/sys/devices/system/cpu", cpus(`(?m)^CPU\(s\): +(\d+)`), readsCPUs},
		{"CPUs, on-line", "/sys/devices/system/cpu/online", cpus(`online (\d+)`), numberedFrom},
	}},
	{"numactl --hardware", "numactl", numactlCommand, []figure{
		{"memory, all nodes", "/sys/devices/system/node/nodeN/meminfo", memory(`total (\d+)`, mib), ""},
		{"CPUs, all nodes", "/sys/devices/system/node/nodeN/cpumap", cpus(`cpus (\d+)`), ""},
	}},
	{"lstopo", "hwloc-nox", lstopoCommand, []figure{
		{"memory", "/sys/devices/system/node/nodeN/meminfo", memory(`Machine \((\d+)MB total\)`, mib), ""},
		{"CPUs", "/sys/devices/system/cpu", cpus(`units (\d+)`), numberedFrom},
	}},
	{"lsmem", "util-linux", "lsmem --bytes", []figure{
		{"memory", "/sys/devices/system/memory", memory(`Total online memory: +(\d+)`, 1),
			"lists blocks of physical memory, which a limit does not divide"},
	}},
	{"swapon", "mount", `echo size $(swapon --show=SIZE --bytes --noheadings) 0`, []figure{
		{"swap", "/proc/swaps", swap(`size (\d+)`, 1), ""},
	}},
	{"lsblk", "util-linux", "lsblk --list --noheadings --nodeps --output NAME", []figure{
		{"disks", "/sys/block", disks(`(?m)^(\w+) *$`), bySysfs},
	}},
	{"iostat", "sysstat", "iostat -d", []figure{
		{"CPUs", "/sys/devices/system/cpu", cpus(`\((\d+) CPU\)`), readsCPUs},
		{"disks", "/sys/block/DISK/stat", disks(`(?m)^(\w+)(?: +[\d.]+){7}$`),
			"reads /proc/diskstats only where there is no /sys/block"},
	}},
	{"mpstat -P ALL", "sysstat", "mpstat -P ALL", []figure{
		{"CPUs", "/proc/stat", cpuList(`(?m)^\S+ +\d+ +[\d.]`), numberedFrom},
	}},
	{"sar -P ALL", "sysstat", "sar -P ALL 1 1", []figure{
		{"CPUs", "/proc/stat", cpuList(`(?m)^Average: +\d+ `), numberedFrom},
	}},
	{"node", "nodejs", withLoad(nodeCommand), []figure{
		{"memory, os.totalmem()", "/proc/meminfo", memory(`totalmem (\d+)`, 1), ""},
		{"memory, process.constrainedMemory()", "memory cgroup",
			memory(`constrained (\d+)`, 1), byCgroup},
		{"CPUs, os.cpus()", "/proc/stat, /proc/cpuinfo", cpus(`cpus (\d+)`), ""},
		{"CPUs, os.availableParallelism()", "sched_getaffinity(2)",
			cpus(`parallelism (\d+)`), byAffinity},
		{"age, os.uptime()", "/proc/uptime", since(`booted (\d+)`), ""},
		{"load, os.loadavg()", "/proc/loadavg", load(words), ""},
	}},
	{"node: fs.copyFileSync", "nodejs", copying(nodeCopy), []figure{
		{"copy of /proc/cpuinfo", "stat(2), sendfile(2)", whole, readsSize},
	}},
	{"python3: psutil", "python3-psutil", psutilCommand, []figure{
		{"memory", "/proc/meminfo", memory(`total (\d+)`, 1), ""},
		{"swap", "/proc/meminfo", swap(`swap (\d+)`, 1), ""},
		{"CPUs", "/sys/devices/system/cpu/online", cpus(`cpus (\d+)`), "sysconf(3)"},
		{"boot time", "btime of /proc/stat", since(`booted (\d+)`),
			"btime is the host's: start times of processes count from it"},
		{"start of a process", "/proc/PID/stat, btime of /proc/stat", since(`created (\d+)`), ""},
		{"disks", "/proc/diskstats", disks(`disk (\w+)`), ""},
	}},
	{"python3: os", "python3", withLoad(pythonCommand), []figure{
		{"CPUs, cpu_count()", "/sys/devices/system/cpu/online", cpus(`cpus (\d+)`), "sysconf(3)"},
		{"CPUs, sched_getaffinity()", "sched_getaffinity(2)", cpus(`affinity (\d+)`), byAffinity},
		{"memory, sysconf(SC_PHYS_PAGES)", "sysinfo(2)", memory(`memory (\d+)`, 1), bySysinfo},
		{"load, getloadavg()", "sysinfo(2)", load(words),
			"getloadavg(3) of older versions of glibc read /proc/loadavg"},
	}},
	{"python3: time", "python3", pythonCommand, []figure{
		{"boot, by CLOCK_BOOTTIME", "clock_gettime(2)", since(`booted (\d+)`), bySysinfo},
	}},
	{"python3: tarfile", "python3", copying(pythonTar), []figure{
		{"copy of /proc/cpuinfo", "stat(2), read(2)", whole, readsSize},
	}},
	{"cp", "coreutils", copying("cp /proc/cpuinfo copy"), []figure{
		{"copy of /proc/cpuinfo", "copy_file_range(2), read(2)", whole, ""},
	}},
	{"tar", "tar", copying("tar -cf t /proc/cpuinfo && tar -xOf t >copy"), []figure{
		{"copy of /proc/cpuinfo", "stat(2), read(2)", whole, readsSize},
	}},
	{"rsync", "rsync", copying("rsync /proc/cpuinfo copy"), []figure{
		{"copy of /proc/cpuinfo", "stat(2), read(2)", whole, readsSize},
	}},
	{"java", "openjdk-17-jre-headless", "java -Xint -XshowSettings:system -version", []figure{
		{"memory", "memory cgroup", memory(`Memory Limit: ([\d.]+)M`, mib), byCgroup},
		{"CPUs", "cpu cgroup, sched_getaffinity(2)", cpus(`Effective CPU Count: (\d+)`), byCgroup},
	}},
	{"Go 1.26: runtime", "", "/clients.test show", []figure{
		{"CPUs, NumCPU()", "sched_getaffinity(2)", cpus(`NumCPU (\d+)`), byAffinity},
		{"CPUs, GOMAXPROCS(0)", "cpu cgroup, sched_getaffinity(2)", goMaxProcs(`GOMAXPROCS (\d+)`),
			"reads the quota itself since Go 1.25; at least 2"},
	}},
	{"prometheus-node-exporter", "prometheus-node-exporter", exporterCommand, []figure{
		{"boot time, node_boot_time_seconds", "btime of /proc/stat",
			since(`node_boot_time_seconds ([\d.e+]+)`), "as for psutil"},
	}},
	{"busybox free", "busybox-static", "busybox free -k", []figure{
		{"memory", "sysinfo(2), /proc/meminfo", memory(`Mem: +(\d+)`, 1024),
			bySysinfo + "; available is the container's"},
	}},
	{"busybox top", "busybox-static", withLoad("busybox top -bn1"), []figure{
		{"memory", "/proc/meminfo", memory(`Mem: (\d+)K used, (\d+)K free`, 1024), ""},
		{"load", "/proc/loadavg", load(words), ""},
	}},
	{"busybox uptime", "busybox-static", withLoad("busybox uptime"), []figure{
		{"age", "sysinfo(2)", up, bySysinfo},
		{"load", "sysinfo(2)", load(loads), bySysinfo},
	}},
	{"busybox nproc", "busybox-static", "busybox nproc", []figure{
		{"CPUs", "sched_getaffinity(2)", cpus(`(\d+)`), byAffinity},
	}},
}
