package idmount

import (
	"fmt"

	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
)

// Namespaces holds user namespaces. The zero Namespaces is empty.
//
// The process that creates one is for a moment another user's with the files that this process has
// open, which makes others refuse an idmapped mount of them (see Private). So the namespaces are
// created before files of a tree are opened.
type Namespaces struct{ byPair map[string]sys.File }

// Get returns the user namespace with the maps of the pair, which it creates the first time.
func (n *Namespaces) Get(pair idmap.Pair) (sys.File, error) {
	key := pair.String()
	if ns, ok := n.byPair[key]; ok {
		return ns, nil
	}
	if err := pair.Check(); err != nil {
		return sys.File{}, err
	}
	ns, err := sys.NewUserNamespace(mappings(pair.UID), mappings(pair.GID))
	if err != nil {
		return ns, fmt.Errorf("create a user namespace for %s: %w", pair, err)
	}
	if n.byPair == nil {
		n.byPair = make(map[string]sys.File)
	}
	n.byPair[key] = ns
	return ns, nil
}

// Close closes the namespaces. Those of mounts continue to exist.
func (n *Namespaces) Close() {
	for _, ns := range n.byPair {
		ns.Close()
	}
}
