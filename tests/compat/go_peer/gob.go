package main

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"os"
	"time"
)

type inner struct {
	Name  string
	Count uint
}

func (i inner) String() string { return i.Name }

type everything struct {
	Text     string
	Empty    string
	Negative int
	Smallest int64
	Largest  uint64
	Float    float64
	Flag     bool
	Bytes    []byte
	Complex  complex128
	List     []inner
	Array    [3]int
	Map      map[string][]float64
	Numbers  map[int]string
	Behind   fmt.Stringer
	Nothing  any
	Number   *big.Float
	Whole    *big.Int
	Moment   time.Time
	Nested   *inner
}

func encode() error {
	gob.RegisterName("example/inner", inner{})
	number, _, _ := big.ParseFloat("123456789012345678901234567890.5", 10, 512, big.ToNearestEven)
	encoder := gob.NewEncoder(os.Stdout)
	whole := everything{
		Text: "téxt", Negative: -129, Smallest: math.MinInt64, Largest: math.MaxUint64, Float: -2.5, Flag: true,
		Bytes: []byte{0, 128, 255}, Complex: complex(1, -2), List: []inner{{"a", 1}, {"", 0}}, Array: [3]int{0, 1, -1},
		Map: map[string][]float64{"x": {1, 0.5}}, Numbers: map[int]string{-7: "seven"}, Behind: inner{"b", 300},
		Number: number, Whole: big.NewInt(-5), Moment: time.Unix(1700000000, 5).UTC(), Nested: &inner{"n", 0},
	}
	for _, value := range []any{whole, "a text", 42, []string{"a", "b"}, whole} {
		if err := encoder.Encode(value); err != nil {
			return err
		}
	}
	return nil
}

// What HCL's decoder specifications look like in gob, without their code.

type objectSpec map[string]any
type ctyType struct{ of string }
type attrSpec struct {
	Name     string
	Type     ctyType
	Required bool
}
type blockSpec struct {
	TypeName string
	Nested   any
	Required bool
}
type blockListSpec struct {
	TypeName           string
	Nested             any
	MinItems, MaxItems int
}
type gobType struct {
	Version int
	Impl    any
}
type primitiveType struct{ Kind uint }
type typeList struct{ ElementTypeT ctyType }
type typeMap struct{ ElementTypeT ctyType }
type typeSet struct{ ElementTypeT ctyType }
type typeTuple struct{ ElemTypes []ctyType }
type typeObject struct {
	AttrTypes    map[string]ctyType
	AttrOptional map[string]struct{}
}

func (t ctyType) GobEncode() ([]byte, error) { return nil, fmt.Errorf("only read") }

func (t *ctyType) GobDecode(data []byte) error {
	var found gobType
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&found); err != nil {
		return err
	}
	switch of := found.Impl.(type) {
	case primitiveType:
		t.of = map[uint]string{'B': "bool", 'N': "number", 'S': "string"}[of.Kind]
	case typeList:
		t.of = "list(" + of.ElementTypeT.of + ")"
	case typeMap:
		t.of = "map(" + of.ElementTypeT.of + ")"
	case typeSet:
		t.of = "set(" + of.ElementTypeT.of + ")"
	case typeTuple:
		t.of = "tuple("
		for _, element := range of.ElemTypes {
			t.of += element.of + ","
		}
		t.of += ")"
	case typeObject:
		t.of = fmt.Sprintf("object(%d, a %s)", len(of.AttrTypes), of.AttrTypes["a"].of)
	default:
		return fmt.Errorf("a %T is no type", found.Impl)
	}
	return nil
}

func (t ctyType) MarshalText() ([]byte, error) { return []byte(t.of), nil }

func decode() error {
	for name, value := range map[string]any{
		"primitiveType": primitiveType{}, "typeList": typeList{}, "typeMap": typeMap{}, "typeSet": typeSet{},
		"typeTuple": typeTuple{}, "typeObject": typeObject{},
	} {
		gob.RegisterName("github.com/zclconf/go-cty/cty."+name, value)
	}
	gob.RegisterName("*hcldec.AttrSpec", &attrSpec{})
	gob.RegisterName("*hcldec.BlockSpec", &blockSpec{})
	gob.RegisterName("*hcldec.BlockListSpec", &blockListSpec{})
	gob.RegisterName("github.com/hashicorp/hcl/v2/hcldec.ObjectSpec", objectSpec{})
	var spec objectSpec
	if err := gob.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(spec)
}
