package doctor

// ID names a kind of finding. It is stable across versions; docs/palisade.md lists all.
type ID string

// The kinds of findings.
const (
	CheckIncomplete ID = "check-incomplete"

	KernelOK         ID = "kernel-ok"
	KernelOld        ID = "kernel-old"
	KernelFuseClone  ID = "kernel-fuse-clone"
	KernelOpenTree   ID = "kernel-open-tree"
	KernelPidfd      ID = "kernel-pidfd"
	KernelOpenat2    ID = "kernel-openat2"
	KernelIDMap      ID = "kernel-idmapped-mounts"
	KernelUserns     ID = "kernel-user-namespaces"
	KernelUsernsMax  ID = "kernel-user-namespaces-off"
	FuseOK           ID = "fuse-ok"
	FuseMissing      ID = "fuse-missing"
	FuseDevice       ID = "fuse-device"
	FuseControl      ID = "fuse-control"
	CgroupOK         ID = "cgroup-ok"
	CgroupMissing    ID = "cgroup-missing"
	CgroupController ID = "cgroup-controller-missing"
	CgroupOff        ID = "cgroup-controller-off"
	CgroupIdle       ID = "cgroup-controller-idle"

	LxcfsOK          ID = "lxcfs-ok"
	LxcfsNotMounted  ID = "lxcfs-not-mounted"
	LxcfsDead        ID = "lxcfs-dead"
	LxcfsWedged      ID = "lxcfs-wedged"
	LxcfsOther       ID = "lxcfs-other"
	LxcfsElsewhere   ID = "lxcfs-elsewhere"
	LxcfsBeside      ID = "lxcfs-beside"
	LxcfsBesideFails ID = "lxcfs-beside-fails"
	LxcfsOff         ID = "lxcfs-switched-off"
	LxcfsNoWorker    ID = "lxcfs-no-worker"
	LxcfsOutdated    ID = "lxcfs-outdated"
	LxcfsNoProgram   ID = "lxcfs-program-gone"
	LxcfsVersions    ID = "lxcfs-versions-differ"
	LxcfsNotEnabled  ID = "lxcfs-not-enabled"

	ContainerOK         ID = "container-ok"
	ContainerDead       ID = "container-files-dead"
	ContainerMissing    ID = "container-files-missing"
	ContainerLeftOut    ID = "container-left-out"
	ContainerIncomplete ID = "container-files-incomplete"
	EngineSilent        ID = "engine-silent"

	LXCNotServed ID = "lxc-not-served"
	LXCApart     ID = "lxc-config-apart"

	EngineAbsent    ID = "engine-absent"
	ConfigBroken    ID = "config-broken"
	ConfigTwice     ID = "config-key-twice"
	HookOK          ID = "hook-ok"
	HookMissing     ID = "hook-missing"
	HookOptional    ID = "hook-optional"
	HookProgram     ID = "hook-program"
	HookWrongFolder ID = "hook-wrong-folder"
	HookWrongStage  ID = "hook-wrong-stage"
	HookOrder       ID = "hook-order"
	HookCgroups     ID = "hook-cgroup-driver"
	AuthzNotAsked   ID = "authz-not-asked"
	AuthzUnused     ID = "authz-unused"
	AuthzSilent     ID = "authz-silent"
	AuthzNeverAsked ID = "authz-never-asked"
	AuthzClientSays ID = "authz-client-says"

	PolicyOK       ID = "policy-ok"
	PolicyMissing  ID = "policy-missing"
	PolicyBroken   ID = "policy-broken"
	PolicyWritable ID = "policy-writable"
	PolicyDefault  ID = "policy-default"
	PolicyDoubtful ID = "policy-doubtful"
	PolicyPlain    ID = "policy-plain"

	SubidOK      ID = "subid-ok"
	SubidMissing ID = "subid-missing"
	SubidBroken  ID = "subid-broken"
	SubidOverlap ID = "subid-overlap"

	IsuladFolders  ID = "isulad-folders-closed"
	IsuladTCPOpen  ID = "isulad-tcp-open"
	IsuladNoVerify ID = "isulad-tls-no-verify"
	IsuladCertRoot ID = "isulad-certificate-is-root"
	IsuladNoRemote ID = "isulad-no-remote"
	IsuladNoSocket ID = "isulad-no-unix-socket"
)

// kinds are all kinds of findings, with their levels.
var kinds = map[ID]Level{
	CheckIncomplete: Warning,

	KernelOK: OK, KernelOld: Warning, KernelFuseClone: Error, KernelOpenTree: Warning,
	KernelPidfd: Info, KernelOpenat2: Info,
	KernelIDMap: Info, KernelUserns: Warning, KernelUsernsMax: Warning,
	FuseOK: OK, FuseMissing: Error, FuseDevice: Error, FuseControl: Info,
	CgroupOK: OK, CgroupMissing: Error, CgroupController: Warning, CgroupOff: Warning,
	CgroupIdle: Info,

	LxcfsOK: OK, LxcfsNotMounted: Error, LxcfsDead: Error, LxcfsWedged: Error,
	LxcfsOther: Warning, LxcfsNoWorker: Warning,
	LxcfsElsewhere: Warning, LxcfsBeside: Info, LxcfsBesideFails: Warning, LxcfsOff: Warning,
	LxcfsOutdated: Warning, LxcfsNoProgram: Warning, LxcfsVersions: Info, LxcfsNotEnabled: Info,

	ContainerOK: OK, ContainerDead: Error, ContainerMissing: Warning, ContainerLeftOut: Info,
	ContainerIncomplete: Info, EngineSilent: Warning,

	LXCNotServed: Warning, LXCApart: Info,

	EngineAbsent: Warning, ConfigBroken: Error, ConfigTwice: Warning,
	HookOK: OK, HookMissing: Warning, HookOptional: Info, HookProgram: Error,
	HookWrongFolder: Warning, HookWrongStage: Warning, HookOrder: Warning, HookCgroups: Warning,
	AuthzNotAsked: Warning, AuthzUnused: Info, AuthzSilent: Error,
	AuthzNeverAsked: Warning, AuthzClientSays: Info,

	PolicyOK: OK, PolicyMissing: Error, PolicyBroken: Error, PolicyWritable: Warning,
	PolicyDefault: Warning, PolicyDoubtful: Warning,
	PolicyPlain: Info,

	SubidOK: OK, SubidMissing: Error, SubidBroken: Warning, SubidOverlap: Warning,

	IsuladFolders: Info, IsuladTCPOpen: Error, IsuladNoVerify: Error, IsuladCertRoot: Info,
	IsuladNoRemote: Error, IsuladNoSocket: Info,
}
