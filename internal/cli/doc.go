// Package cli is the directory of the packages with which every program starts, logs, reports
// metrics and ends.
//
// Reading order: cmdline runs commands and maps errors to exit statuses; linelog writes log
// messages as lines; options has the global options of lxcfs-toolkit and palisade; version is the
// version of the build; metrics has the options and listeners of metrics, and scrape the HTTP
// server. Only tests import clidoc, which generates man pages and completions, and golden, which
// compares output with files.
//
// These packages import only packages of linux.
package cli
