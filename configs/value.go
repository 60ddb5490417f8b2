package configs

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"lvsd/health"
)

// value is what the file says for one key, and where. The zero value is a key
// that is not in the file.
type value[T any] struct {
	is  T
	at  place
	bad bool // what the file says will not do and was reported; is is the zero value
}

// set says whether the key is in the file.
func (v value[T]) set() bool { return v.at.line > 0 }

// place returns where the value stands.
func (v value[T]) place() place { return v.at }

// good says whether the key is in the file with a value that will do by itself.
func (v value[T]) good() bool { return v.set() && !v.bad }

// or returns the value, or a default if there is none to use.
func (v value[T]) or(otherwise T) T {
	if v.good() {
		return v.is
	}
	return otherwise
}

// scalar is a pointer to a value of any type.
type scalar interface {
	// decode takes over what the TOML library read. It returns what would be
	// right if that will not do. The tags min and max bound numbers and
	// durations, step is what a duration is a multiple of, like an example of
	// one, and oneof lists the words that are allowed.
	decode(data any, at place, tag reflect.StructTag) (right string)
	set() bool
	place() place
}

func (v *value[T]) decode(data any, at place, tag reflect.StructTag) string {
	right := decode(any(&v.is), data, tag)
	if v.at = at; right != "" {
		*v = value[T]{at: at, bad: true}
	}
	return right
}

// decode puts data into is, a pointer to any type that a value can have.
func decode(is, data any, tag reflect.StructTag) string {
	switch is := is.(type) {
	case *bool:
		b, ok := data.(bool)
		if !ok {
			return "must be true or false"
		}
		*is = b
	case *int:
		n, ok := data.(int64)
		lowest, _ := strconv.ParseInt(tag.Get("min"), 10, 64)
		highest, _ := strconv.ParseInt(tag.Get("max"), 10, 64)
		if !ok || n < lowest || n > highest {
			return fmt.Sprintf("must be %d to %d", lowest, highest)
		}
		*is = int(n)
	case *time.Duration:
		return decodeDuration(is, data, tag)
	case *health.StatusRanges:
		s, ok := data.(string)
		if !ok {
			return `must be a string like "200,204,300-399"`
		}
		if list, err := health.ParseStatusRanges(s); err == nil {
			*is = list
			return ""
		}
		return `must be codes from 100 to 599 and ranges of them like "200,204,300-399"`
	case *string:
		s, ok := data.(string)
		words := tag.Get("oneof")
		switch {
		case words != "" && (!ok || !slices.Contains(strings.Fields(words), s)):
			return "must be " + oneOf(strings.Fields(words))
		case !ok:
			return "must be a string"
		}
		*is = s
	default:
		s, _ := data.(string)
		return decodeAddress(is, s)
	}
	return ""
}

// decodeDuration reads a duration, which only a string with a unit is.
func decodeDuration(is *time.Duration, data any, tag reflect.StructTag) string {
	lowest, _ := time.ParseDuration(tag.Get("min"))
	highest, _ := time.ParseDuration(tag.Get("max"))
	s, ok := data.(string)
	if !ok {
		return fmt.Sprintf("must be a duration in quotes like %q", tag.Get("like"))
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return fmt.Sprintf("must be a duration with its unit like %q", tag.Get("like"))
	case d < lowest || d > highest:
		return fmt.Sprintf("must be %s to %s", tag.Get("min"), tag.Get("max"))
	}
	if step, _ := time.ParseDuration(tag.Get("step")); step > 0 && d%step != 0 {
		return "must be a multiple of " + tag.Get("step")
	}
	*is = d
	return ""
}

// decodeAddress reads the types of net/netip. Zones and IPv4 addresses in the
// clothes of IPv6 have no place in the kernel's table and are refused.
func decodeAddress(is any, s string) string {
	var a netip.Addr
	var right string
	switch is := is.(type) {
	case *netip.Addr:
		right = `must be an IP address like "192.168.50.31"`
		a, _ = netip.ParseAddr(s)
		*is = a
	case *netip.AddrPort:
		right = `must be an address and a port like "192.168.50.100:80" or "[2001:db8::100]:80"`
		p, err := netip.ParseAddrPort(s)
		if err != nil || p.Port() == 0 {
			return right
		}
		a = p.Addr()
		*is = p
	case *netip.Prefix:
		right = `must be an address with its prefix length like "192.168.50.100/24" or "2001:db8::100/64"`
		p, err := netip.ParsePrefix(s)
		if err != nil {
			// A bare address is a host route: it brings no network with it.
			if a, err = netip.ParseAddr(s); err != nil || a.Zone() != "" {
				return right
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		a = p.Addr()
		*is = p
	default:
		panic(fmt.Sprintf("configs: no way to decode a %T", is))
	}
	switch {
	case !a.IsValid():
		return right
	case a.Zone() != "":
		return "must have no zone"
	case a.Is4In6():
		return fmt.Sprintf("must be written as IPv4, %s", a.Unmap())
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "must be the address of one machine"
	}
	return ""
}

// oneOf returns words as an enumeration: "a", "b" or "c".
func oneOf(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = strconv.Quote(word)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}
