# Joins what the page is written as into what it is served as: one file comes sooner than twenty.

# style.css, with the files that it imports in the place of the lines that do, in FILE.
function(zi_join_styles web file)
  file(STRINGS ${web}/style.css lines)
  file(WRITE ${file} "")
  foreach(line IN LISTS lines)
    if(line MATCHES "^@import \"(.*)\";$")
      file(READ ${web}/${CMAKE_MATCH_1} part)
      file(APPEND ${file} "${part}")
    endif()
  endforeach()
endfunction()

# js/main.js, with all modules that it needs before it, in FILE. A module becomes a function that is called once and
# returns what it exports. The forms of import and export that are known here are those that web/js uses:
#   import { a, b as c } from './module.js';   export function f, export async function f,
#   import * as name from './module.js';       export const c, export class C
# Any other, and modules that need each other in a circle, are refused.
function(zi_join_modules web file)
  file(WRITE ${file} "const page = {};\n")
  zi_join_module(${web} ${file} main "")
endfunction()

# A name that module OTHER does not export would be undefined without a word.
function(zi_check_names path other import)
  get_property(exports GLOBAL PROPERTY zi_exports_${other})
  string(REGEX MATCH "{.*}" names "${import}")
  string(REGEX REPLACE "[{} ]+(as [^,}]*)?" "" names "${names}")
  string(REPLACE "," ";" names "${names}")
  foreach(name IN LISTS names)
    if(NOT name IN_LIST exports)
      message(FATAL_ERROR "${path}: ${other}.js does not export ${name}")
    endif()
  endforeach()
endfunction()

function(zi_join_module web file name above)
  get_property(joined GLOBAL PROPERTY zi_joined)
  if(name IN_LIST joined)
    return()
  endif()
  set(path ${web}/js/${name}.js)
  if(name IN_LIST above)
    message(FATAL_ERROR "${path}: imports itself, by way of ${above}")
  endif()
  file(READ ${path} text)
  set(text "\n${text}")
  string(REGEX MATCHALL "\nimport [^\n;]* from '\\./[a-z]+\\.js'" imports "${text}")
  foreach(import IN LISTS imports)
    string(REGEX REPLACE ".*'\\./([a-z]+)\\.js'" "\\1" other "${import}")
    zi_join_module(${web} ${file} ${other} "${above};${name}")
    zi_check_names(${path} ${other} "${import}")
  endforeach()

  string(REGEX MATCHALL "\nexport (async function|function|const|class) [A-Za-z0-9_$]+" exports "${text}")
  list(TRANSFORM exports REPLACE ".* " "")
  set_property(GLOBAL PROPERTY zi_exports_${name} "${exports}")
  string(REPLACE ";" ", " exports "${exports}")
  string(REGEX REPLACE "\nimport ({[^}]*}) from '\\./([a-z]+)\\.js'" "\nconst \\1 = page.\\2" text "${text}")
  string(REGEX REPLACE "(\nconst {[^}]*) as ([^}]*} = page)" "\\1: \\2" text "${text}") # one in each line
  string(REGEX REPLACE "\nimport \\* as ([a-z]+) from '\\./([a-z]+)\\.js'" "\nconst \\1 = page.\\2" text "${text}")
  string(REGEX REPLACE "\nexport (async function|function|const|class) " "\n\\1 " text "${text}")
  if(text MATCHES "\n(import|export)[^\n]*" OR text MATCHES "[^\n]*import\\([^\n]*" OR text MATCHES "[^\n]*{[^\n}]* as [^\n]* = page[^\n]*")
    string(STRIP "${CMAKE_MATCH_0}" line)
    message(FATAL_ERROR "${path}: cmake/join.cmake does not know this form of import or export: ${line}")
  endif()
  file(APPEND ${file} "page.${name} = (() => {${text}return { ${exports} };\n})();\n")
  set_property(GLOBAL APPEND PROPERTY zi_joined ${name})
endfunction()
