package doctor

// ID names a kind of finding. It is stable across versions; docs/palisade.md lists all.
type ID string

// kinds has the level of each kind of finding.
var kinds = make(map[ID]Level)

// kind adds a kind of finding.
func kind(id ID, level Level) ID {
	kinds[id] = level
	return id
}

// The kinds of findings.
var (
	CheckIncomplete = kind("check-incomplete", Warning)

	KernelOK         = kind("kernel-ok", OK)
	KernelOld        = kind("kernel-old", Warning)
	KernelFuseClone  = kind("kernel-fuse-clone", Error)
	KernelOpenTree   = kind("kernel-open-tree", Warning)
	KernelPidfd      = kind("kernel-pidfd", Info)
	KernelOpenat2    = kind("kernel-openat2", Info)
	KernelIDMap      = kind("kernel-idmapped-mounts", Info)
	KernelUserns     = kind("kernel-user-namespaces", Warning)
	KernelUsernsMax  = kind("kernel-user-namespaces-off", Warning)
	FuseOK           = kind("fuse-ok", OK)
	FuseMissing      = kind("fuse-missing", Error)
	FuseDevice       = kind("fuse-device", Error)
	FuseControl      = kind("fuse-control", Info)
	CgroupOK         = kind("cgroup-ok", OK)
	CgroupMissing    = kind("cgroup-missing", Error)
	CgroupController = kind("cgroup-controller-missing", Warning)
	CgroupOff        = kind("cgroup-controller-off", Warning)
	CgroupIdle       = kind("cgroup-controller-idle", Info)

	LxcfsOK          = kind("lxcfs-ok", OK)
	LxcfsNotMounted  = kind("lxcfs-not-mounted", Error)
	LxcfsDead        = kind("lxcfs-dead", Error)
	LxcfsWedged      = kind("lxcfs-wedged", Error)
	LxcfsOther       = kind("lxcfs-other", Warning)
	LxcfsElsewhere   = kind("lxcfs-elsewhere", Warning)
	LxcfsBeside      = kind("lxcfs-beside", Info)
	LxcfsBesideFails = kind("lxcfs-beside-fails", Warning)
	LxcfsOff         = kind("lxcfs-switched-off", Warning)
	LxcfsNoWorker    = kind("lxcfs-no-worker", Warning)
	LxcfsOutdated    = kind("lxcfs-outdated", Warning)
	LxcfsNoProgram   = kind("lxcfs-program-gone", Warning)
	LxcfsVersions    = kind("lxcfs-versions-differ", Info)
	LxcfsNotEnabled  = kind("lxcfs-not-enabled", Info)

	ContainerOK         = kind("container-ok", OK)
	ContainerDead       = kind("container-files-dead", Error)
	ContainerMissing    = kind("container-files-missing", Warning)
	ContainerLeftOut    = kind("container-left-out", Info)
	ContainerIncomplete = kind("container-files-incomplete", Info)
	EngineSilent        = kind("engine-silent", Warning)

	LXCNotServed = kind("lxc-not-served", Warning)
	LXCApart     = kind("lxc-config-apart", Info)

	EngineAbsent    = kind("engine-absent", Warning)
	ConfigBroken    = kind("config-broken", Error)
	ConfigTwice     = kind("config-key-twice", Warning)
	HookOK          = kind("hook-ok", OK)
	HookMissing     = kind("hook-missing", Warning)
	HookOptional    = kind("hook-optional", Info)
	HookProgram     = kind("hook-program", Error)
	HookWrongFolder = kind("hook-wrong-folder", Warning)
	HookWrongStage  = kind("hook-wrong-stage", Warning)
	HookOrder       = kind("hook-order", Warning)
	HookCgroups     = kind("hook-cgroup-driver", Warning)
	AuthzNotAsked   = kind("authz-not-asked", Warning)
	AuthzUnused     = kind("authz-unused", Info)
	AuthzSilent     = kind("authz-silent", Error)
	AuthzNeverAsked = kind("authz-never-asked", Warning)
	AuthzClientSays = kind("authz-client-says", Info)

	PolicyOK       = kind("policy-ok", OK)
	PolicyMissing  = kind("policy-missing", Error)
	PolicyBroken   = kind("policy-broken", Error)
	PolicyWritable = kind("policy-writable", Warning)
	PolicyDefault  = kind("policy-default", Warning)
	PolicyDoubtful = kind("policy-doubtful", Warning)
	PolicyPlain    = kind("policy-plain", Info)

	SubidOK      = kind("subid-ok", OK)
	SubidMissing = kind("subid-missing", Error)
	SubidBroken  = kind("subid-broken", Warning)
	SubidOverlap = kind("subid-overlap", Warning)

	IsuladFolders  = kind("isulad-folders-closed", Info)
	IsuladTCPOpen  = kind("isulad-tcp-open", Error)
	IsuladNoVerify = kind("isulad-tls-no-verify", Error)
	IsuladCertRoot = kind("isulad-certificate-is-root", Info)
	IsuladNoRemote = kind("isulad-no-remote", Error)
	IsuladNoSocket = kind("isulad-no-unix-socket", Info)
)
