package policy

// Identity is a client of an engine. Only one of User, UnixUser and Container is set: "alice" in a
// certificate and the user alice of the host are different clients.
type Identity struct {
	// User is the CN of the client's certificate, or the name that a socket stands for. It is "" if
	// the engine names no user.
	User string
	// Groups are the values of O and OU in the certificate, and its URIs as "uri:...".
	Groups []string
	// Local reports that a client without name and certificate uses Docker's unix socket.
	Local bool
	// UnixUser and UnixGroups are the names of a process's user and groups on the host.
	UnixUser   string
	UnixGroups []string
	// Container is the container of the client's process, or nil.
	Container *Container
}

// Container is a container that is a client of the engine which runs it.
type Container struct {
	ID, Name string
	Labels   map[string]string
}

// Name returns the name of the client for messages and the audit log: User, "unix:USER" or
// "container:NAME". It is "" for a client without a name.
func (id Identity) Name() string {
	switch {
	case id.Container != nil:
		return "container:" + id.Container.Name
	case id.UnixUser != "":
		return "unix:" + id.UnixUser
	}
	return id.User
}

// index maps the names that policies list to the policies.
type index struct {
	users, groups, unixUsers, unixGroups, containers map[string]*Policy
	local                                            *Policy
}

func newIndex() index {
	m := func() map[string]*Policy { return make(map[string]*Policy) }
	return index{users: m(), groups: m(), unixUsers: m(), unixGroups: m(), containers: m()}
}

// lookup returns the first policy that lists the client, or nil.
func (x *index) lookup(id Identity) *Policy {
	first := x.users[""]
	find := func(known map[string]*Policy, names ...string) {
		for _, name := range names {
			if name != "" {
				first = earlier(first, known[name])
			}
		}
	}
	switch {
	case id.Local:
		return earlier(first, x.local)
	case id.Container != nil:
		find(x.containers, id.Container.Name)
		for key, value := range id.Container.Labels {
			find(x.containers, key+"="+value)
		}
	case id.UnixUser != "":
		find(x.unixUsers, id.UnixUser)
		find(x.unixGroups, id.UnixGroups...)
	default:
		find(x.users, id.User)
		find(x.groups, id.Groups...)
	}
	return first
}

// earlier returns the policy with the lower line number. Either may be nil.
func earlier(p, q *Policy) *Policy {
	if p == nil || q != nil && q.Line < p.Line {
		return q
	}
	return p
}
