# Writes the demo page as a C array: cmake -DINPUT=… -DOUTPUT=… -P embed.cmake (symbols as demo_page.h declares them).
file(READ "${INPUT}" hex HEX)
string(REGEX REPLACE "(................................)" "\\1\n" lines "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${lines}")
file(WRITE "${OUTPUT}" "#include \"gateway/demo/demo_page.h\"\n\nconst unsigned char demo_page[] = {\n${bytes}\n};\n"
     "const size_t demo_page_bytes = sizeof demo_page;\n")
