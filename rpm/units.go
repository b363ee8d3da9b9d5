// Package rpm has the units of the packages for programs that install them without a package.
package rpm

import _ "embed"

// LxcfsService is the unit of lxcfs.
//
//go:embed lxcfs.service
var LxcfsService string
