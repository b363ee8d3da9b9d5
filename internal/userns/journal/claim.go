package journal

import "fmt"

// Claim is a state without a valid seal: it comes from an image, another host or an earlier
// release, or the key is lost. It is not trusted, only reported.
type Claim struct {
	// State is the claimed state, nil if it cannot be parsed.
	State *State
	// EraseCommand is a shell command that removes the claim.
	EraseCommand string
	where, key   string
}

// MayBePartial reports whether the tree's change may be incomplete. Then set-id bits and
// capabilities may exist only in the untrusted records. The claim of a complete shift can be
// ignored: the owners of the files show the state. So can a nil claim.
func (c *Claim) MayBePartial() bool { return c != nil && (c.State == nil || c.State.Partial()) }

// String describes the claim in messages.
func (c *Claim) String() string {
	content := "something unknown"
	if c.State != nil {
		content = c.State.Describe()
	}
	return fmt.Sprintf("%s was not written with this host's key %s (it says: %.200s)",
		c.where, c.key, content)
}
