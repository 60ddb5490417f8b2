package configs

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// decoder fills the raw types from what the TOML library read, and notes every
// key that is unknown and every value that cannot be. The library could fill
// them too, but it ends at the first value of a wrong type, takes keys in any
// case of letters, and leaves most lines behind.
type decoder struct {
	*report
	file string
}

// table fills the struct that dst points to.
func (d *decoder) table(data map[string]any, n *node, dst reflect.Value, label string) {
	dst.Interface().(interface{ locate(at place) }).locate(d.at(n, label))
	fields := fieldsOf(dst.Elem())
	for key, datum := range data {
		if f, known := fields[key]; known {
			d.value(datum, n.child(key), f, label, key)
			continue
		}
		d.add(d.at(n.child(key), label), "unknown key %s: %s", show(key), suggest(key, sortedKeys(fields)))
	}
}

// value fills a field with the value of its key.
func (d *decoder) value(data any, n *node, f field, label, key string) {
	if s, ok := f.value.Addr().Interface().(scalar); ok {
		d.scalar(data, n, s, f.tag, label, key)
		return
	}
	at, dst := d.at(n, label), f.value
	switch dst.Kind() {
	case reflect.Pointer:
		t, ok := data.(map[string]any)
		if !ok {
			d.add(at, "%s is %s: must be a table", key, kindOf(data))
			return
		}
		dst.Set(reflect.New(dst.Type().Elem()))
		d.table(t, n, dst, below(label, key))
	case reflect.Map:
		t, ok := data.(map[string]any)
		if !ok {
			d.add(at, "%s is %s: must be a table", key, kindOf(data))
			return
		}
		dst.Set(reflect.MakeMap(dst.Type()))
		for name, datum := range t {
			d.named(datum, n.child(name), dst, f.tag, label, key, name)
		}
	case reflect.Slice:
		list := reflect.ValueOf(data)
		if list.Kind() != reflect.Slice {
			d.add(at, "%s is %s: must be an array", key, kindOf(data))
			// One element that will not do: the key is not missing.
			dst.Set(reflect.MakeSlice(dst.Type(), 1, 1))
			return
		}
		dst.Set(reflect.MakeSlice(dst.Type(), list.Len(), list.Len()))
		for i := range list.Len() {
			d.item(list.Index(i).Interface(), n.item(i), field{dst.Index(i), f.tag}, label, key, i)
		}
	default:
		panic(fmt.Sprintf("configs: no way to decode a %s", dst.Type()))
	}
}

// scalar decodes a value that is neither table nor array.
func (d *decoder) scalar(data any, n *node, dst scalar, tag reflect.StructTag, label, key string) {
	at := d.at(n, label)
	if right := dst.decode(data, at, tag); right != "" {
		d.wrong(at, key, data, right)
	}
}

// named puts the table or scalar of one name into a map.
func (d *decoder) named(data any, n *node, dst reflect.Value, tag reflect.StructTag, label, key, name string) {
	element := reflect.New(dst.Type().Elem())
	if s, ok := element.Interface().(scalar); ok {
		d.scalar(data, n, s, tag, label, key+" "+show(name))
	} else {
		label = below(label, key+" "+show(name))
		if right := wrongName(name); right != "" {
			d.add(d.at(n, label), "the name %s", right)
		}
		t, ok := data.(map[string]any)
		if !ok {
			d.add(d.at(n, label), "is %s: must be a table", kindOf(data))
			return
		}
		element.Elem().Set(reflect.New(element.Type().Elem().Elem()))
		d.table(t, n, element.Elem(), label)
	}
	dst.SetMapIndex(reflect.ValueOf(name), element.Elem())
}

// item fills one element of an array. The tag short names the key whose value may
// stand for the whole table. Another element that should be a table and is none
// stays nil.
func (d *decoder) item(data any, n *node, f field, label, key string, i int) {
	if s, ok := f.value.Addr().Interface().(scalar); ok {
		d.scalar(data, n, s, f.tag, label, key)
		return
	}
	t, ok := data.(map[string]any)
	if short := f.tag.Get("short"); !ok && short != "" {
		f.value.Set(reflect.New(f.value.Type().Elem()))
		f.value.Interface().(interface{ locate(at place) }).locate(d.at(n, label))
		d.scalar(data, n, fieldsOf(f.value.Elem())[short].value.Addr().Interface().(scalar), f.tag, label, key)
		return
	}
	label = below(label, fmt.Sprintf("%s %d", key, i+1))
	if !ok {
		d.add(d.at(n, label), "is %s: must be a table", kindOf(data))
		return
	}
	f.value.Set(reflect.New(f.value.Type().Elem()))
	d.table(t, n, f.value, label)
}

// at returns the place of a node in the table with a label.
func (d *decoder) at(n *node, label string) place { return place{d.file, n.line, label} }

// wrong notes that the value of a key will not do.
func (d *decoder) wrong(at place, key string, data any, right string) {
	switch data.(type) {
	case string, int64, float64, bool, time.Time:
		d.add(at, "%s %s: %s", key, show(data), right)
	default:
		d.add(at, "%s is %s: %s", key, kindOf(data), right)
	}
}

// field is one key that a table may have.
type field struct {
	value reflect.Value
	tag   reflect.StructTag
}

// fieldsOf returns the fields of a raw type by their keys, those of embedded
// types included.
func fieldsOf(v reflect.Value) map[string]field {
	fields := make(map[string]field)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if key := f.Tag.Get("toml"); key != "" {
			fields[key] = field{v.Field(i), f.Tag}
		} else if f.Anonymous && f.Type != reflect.TypeFor[table]() {
			for key, inner := range fieldsOf(v.Field(i)) {
				fields[key] = inner
			}
		}
	}
	return fields
}

// below returns the label of a table within another one.
func below(label, key string) string {
	switch label {
	case "":
		return key
	case "defaults":
		return label + "." + key
	default:
		return label + ": " + key
	}
}

// maxName bounds the names of directors, instances and services.
const maxName = 64

// wrongName says what would be right if a name will not do. Names stand in
// logs, metrics, commands and file names, and must not need quotes there.
func wrongName(name string) string {
	ok := name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
		return r >= utf8.RuneSelf || r != '.' && !isBare(byte(r))
	})
	if ok {
		return ""
	}
	return fmt.Sprintf("must be 1 to %d letters, digits, dots, hyphens and underscores", maxName)
}

// maxShown bounds how many bytes of a value a problem shows.
const maxShown = 80

// show returns a value as it could stand in the file, on one line and cut
// short if it is very long.
func show(data any) string {
	switch data := data.(type) {
	case string:
		if len(data) > maxShown {
			return strconv.Quote(strings.ToValidUTF8(data[:maxShown], "") + "...")
		}
		return strconv.Quote(data)
	case time.Time:
		return data.Format(time.RFC3339)
	default:
		return fmt.Sprint(data)
	}
}

// kindOf returns the kind of a value with its article.
func kindOf(data any) string {
	switch data.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "true or false"
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	default:
		return "an array"
	}
}

// sortedKeys returns the keys of a map, sorted.
func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
