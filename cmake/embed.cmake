# A file as a C array: cmake -DIN=FILE -DOUT=FILE.c -DNAME=name -P embed.cmake

# The bytes of a file, as what stands between the braces of an array.
function(zi_hex file out)
  file(READ ${file} bytes HEX)
  string(REGEX REPLACE "(................................................)" "\\1\n" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  set(${out} "${bytes}" PARENT_SCOPE)
endfunction()

if(IN)
  zi_hex(${IN} bytes)
  file(WRITE ${OUT} "#include <stddef.h>\nextern const unsigned char ${NAME}[];\nextern const size_t ${NAME}_size;\nconst unsigned char ${NAME}[] = {\n${bytes}};\nconst size_t ${NAME}_size = sizeof ${NAME};\n")
endif()
