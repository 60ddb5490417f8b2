package vip

import "time"

// Gratuitous lets tests compare frames with captured ones.
var Gratuitous = gratuitous

// SetEventBuffer makes Watch lose events sooner. The size is in bytes.
func (l *Linux) SetEventBuffer(size int) { l.eventBuffer = size }

// SetSearchTime changes how long the owner of a socket is looked for. Nothing may
// be looking yet.
func SetSearchTime(d time.Duration) { searchTime = d }

// SetSysctl makes the kernel's settings appear elsewhere.
func (l *Linux) SetSysctl(folder string) { l.sysctl = folder }

// Dump lets tests interrupt lists.
func Dump(list func() ([]int, error)) ([]int, error) { return dump(list) }
