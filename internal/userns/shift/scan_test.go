package shift

import "testing"

// TestListsSpecial covers lists of extended attributes as returned by listxattr(2).
func TestListsSpecial(t *testing.T) {
	for list, want := range map[string]bool{
		"": false, "security.selinux\x00": false, "user.a\x00security.capability\x00": true,
		"system.posix_acl_access\x00": true, "system.posix_acl_default\x00user.a\x00": true,
		"trusted.userns_shift\x00": true, "trusted.userns_shift.record\x00": true,
		"trusted.userns_shift.other\x00": false, "cut": true,
	} {
		if got := listsSpecial([]byte(list)); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
}
